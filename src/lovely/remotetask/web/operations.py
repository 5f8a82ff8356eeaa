"""What the API can do: one table, from which requests are read and described."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pyramid.httpexceptions import HTTPConflict, HTTPForbidden

from lovely.remotetask.states import CRONJOB, DELAYED, REMOVABLE
from lovely.remotetask.web import values
from lovely.remotetask.web.fields import (
    Anything,
    Choice,
    Field,
    Flag,
    Integer,
    Moment,
    Number,
    Several,
    Text,
)
from lovely.remotetask.web.pages import FILTERS, START, search, upcoming
from lovely.remotetask.web.settings import Settings
from lovely.remotetask.web.verbs import BULK, VERBS, Verb, job_of

if TYPE_CHECKING:
    from lovely.remotetask.job import Job
    from lovely.remotetask.service import TaskService

#: The most jobs on a page, and to be changed or removed in one request.
MOST_LISTED, MOST_CHANGED, MOST_CLEANED = 200, 100, 1000
#: The longest delay, and the longest timeout (seconds): a thousand years.
LONGEST = 1000 * 366 * 86_400


class Call(NamedTuple):
    """A request: the service, what the dashboard was made with, and the job's id."""

    service: TaskService
    settings: Settings
    jobid: int

    @property
    def job(self) -> Job:
        """The job that the path names.  Raise UnknownJob."""
        return job_of(self.service, self.jobid)

    def briefs(self, jobs: list[Job]) -> list[dict[str, Any]]:
        """Jobs in a list."""
        return [values.brief(job, self.settings.mask) for job in jobs]

    def full(self, job: Job) -> dict[str, Any]:
        """All of a job."""
        return values.full(self.service, job, self.settings.mask)


@dataclass(frozen=True)
class Operation:
    """A method of a path."""

    name: str
    method: str
    path: str
    meaning: str
    #: Given a `Call`, and by name what was read of the request.
    work: Callable[..., Any]
    #: The schema of the answer, by its name.
    answer: str
    query: tuple[Field, ...] = ()
    body: tuple[Field, ...] = ()
    status: int = 200
    #: Whether it changes jobs.
    changes: bool = False
    #: Problems that are its own.
    problems: tuple[int, ...] = ()


def list_jobs(call: Call, limit: int = 50, **wanted: Any) -> Any:
    page = search(call.settings, call.service, limit, **wanted)
    return {
        "jobs": call.briefs(page.jobs),
        "next": page.next,
        "looked_at": page.looked_at,
    }


def list_schedule(call: Call, status: str = CRONJOB, **wanted: Any) -> Any:
    return list_jobs(call, status=status, **wanted)


def list_queue(call: Call, limit: int = 50) -> Any:
    return {"jobs": call.briefs(upcoming(call.service, limit))}


def list_workers(call: Call) -> Any:
    return {"workers": [values.worker(w) for w in call.service.processing.workers]}


def list_tasks(call: Call) -> Any:
    names = sorted(call.service.getAvailableTasks())
    allowed = call.settings.tasks
    return {"tasks": [{"name": name, "addable": name in allowed} for name in names]}


def show_history(call: Call, minutes: int = 60) -> Any:
    return {"minutes": [values.minute(m) for m in call.service.history(minutes)]}


def add_job(
    call: Call,
    task: str,
    start_later: bool = False,
    input: Any = None,
    **more: Any,
) -> Any:
    if task not in call.settings.tasks:
        raise HTTPForbidden(
            f"The task {task!r} can't be added here; the dashboard's 'tasks' name "
            "those that can."
        )
    jobid = call.service.add(task, input, start_later, **more)
    return call.full(call.service.jobs[jobid])


def act(verb: Verb) -> Callable[..., Any]:
    """What does something to one job."""

    def work(call: Call) -> Any:
        if not verb.apply(call.service, call.jobid):
            status = call.job.status
            raise HTTPConflict(
                f"{verb.label}: not possible for a job that is {status}."
            )
        return call.full(call.job)

    return work


def remove_job(call: Call) -> Any:
    job = call.full(call.job)
    if not VERBS["remove"].apply(call.service, call.jobid):
        raise HTTPConflict(f"Remove: not possible for a job that is {job['status']}.")
    return job


def change_many(call: Call, verb: str, ids: list[int]) -> Any:
    known = [jobid for jobid in ids if jobid in call.service.jobs]
    done = [jobid for jobid in known if VERBS[verb].apply(call.service, jobid)]
    return {"done": done, "left": [jobid for jobid in ids if jobid not in set(done)]}


def clean(call: Call, status: list[str], limit: int = 100) -> Any:
    return {"removed": call.service.clean(status, limit=limit)}


_ADD = (
    Field("task", Text(), "The name of the task.", required=True),
    Field("input", Anything(), "What the task is given."),
    Field("start_later", Flag(), "Whether it waits for somebody to start it."),
    Field("delay", Number(0, LONGEST), "Seconds to wait before."),
    Field("at", Moment(), "When it may run."),
    Field("retry", Integer(0, 1000), "How often it is tried again."),
    Field("timeout", Number(0, LONGEST), "Seconds after which it is asked to stop."),
)

_LIMIT = Field("limit", Integer(1, MOST_LISTED), "How many jobs at most.")


def _of_verb(verb: Verb) -> Operation:
    return Operation(
        f"{verb.name}Job",
        "POST",
        f"/jobs/{{id}}/{verb.name}",
        verb.meaning,
        act(verb),
        "Job",
        changes=True,
        problems=(404, 409),
    )


OPERATIONS = (
    Operation(
        "getStatus",
        "GET",
        "/status",
        "How the service is: jobs by status, the oldest that waits, stalls.",
        lambda call: values.status(call.service),
        "Status",
    ),
    Operation(
        "getHistory",
        "GET",
        "/history",
        "What was done in each of the last minutes, the oldest first.",
        show_history,
        "History",
        query=(Field("minutes", Integer(1, 1440), "How many minutes."),),
    ),
    Operation(
        "listJobs",
        "GET",
        "/jobs",
        "Jobs, the newest first, a page at a time.  A page looks at a bounded number "
        "of jobs, so it may be empty although others follow: go on with `start`.",
        list_jobs,
        "Page",
        query=(*FILTERS, START, _LIMIT),
    ),
    Operation(
        "addJob",
        "POST",
        "/jobs",
        "Ask for a task to be run.  It must be registered, and allowed here.",
        add_job,
        "Job",
        body=_ADD,
        status=201,
        changes=True,
    ),
    Operation(
        "getJob",
        "GET",
        "/jobs/{id}",
        "All of a job.",
        lambda call: call.full(call.job),
        "Job",
        problems=(404,),
    ),
    Operation(
        "removeJob",
        "DELETE",
        "/jobs/{id}",
        VERBS["remove"].meaning,
        remove_job,
        "Job",
        changes=True,
        problems=(404, 409),
    ),
    *(_of_verb(verb) for verb in VERBS.values() if verb.name != "remove"),
    Operation(
        "changeJobs",
        "POST",
        "/bulk",
        "Do the same to several jobs; what makes no sense for one is left.",
        change_many,
        "Changed",
        body=(
            Field("verb", Choice(BULK), "What to do.", required=True),
            Field("ids", Several(Integer(1), MOST_CHANGED), "Ids.", required=True),
        ),
        changes=True,
    ),
    Operation(
        "clean",
        "POST",
        "/clean",
        "Remove the oldest jobs that are over.",
        clean,
        "Removed",
        body=(
            Field(
                "status",
                Several(Choice(sorted(REMOVABLE)), len(REMOVABLE)),
                "Which jobs.",
                required=True,
            ),
            Field("limit", Integer(1, MOST_CLEANED), "How many at most."),
        ),
        changes=True,
    ),
    Operation(
        "listQueue",
        "GET",
        "/queue",
        "The jobs that are next.",
        list_queue,
        "Jobs",
        query=(_LIMIT,),
    ),
    Operation(
        "listSchedule",
        "GET",
        "/schedule",
        "Cron jobs between their runs, or jobs that wait for a time.",
        list_schedule,
        "Page",
        query=(
            Field("status", Choice((CRONJOB, DELAYED)), "Which; cron jobs by default."),
            START,
            _LIMIT,
        ),
    ),
    Operation(
        "listWorkers", "GET", "/workers", "Who runs jobs.", list_workers, "Workers"
    ),
    Operation(
        "listTasks",
        "GET",
        "/tasks",
        "The tasks that are registered here, and which can be added.",
        list_tasks,
        "Tasks",
    ),
)
