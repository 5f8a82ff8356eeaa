"""Jobs remember who added them, and run for them."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import transaction
import zope.component
import zope.event
from zope.authentication.interfaces import (
    IAuthentication,
    IFallbackUnauthenticatedPrincipal,
)
from zope.principalregistry.principalregistry import PrincipalRegistry
from zope.publisher.interfaces import IPublicationRequest, IRequest
from zope.security import management
from zope.security.interfaces import IParticipation
from zope.site.folder import Folder, rootFolder
from zope.site.site import LocalSiteManager

from lovely.remotetask import SimpleTask, TaskService, plugins, task
from lovely.remotetask.errors import InvalidArgument, NotInstalled, PrincipalGone
from lovely.remotetask.interfaces import IJobStarted
from lovely.remotetask.people import GROUP
from lovely.remotetask.processor import ProcessorRequest
from tests.support import (
    echo,
    processing,
    provide,
    register,
    register_full,
    wait_for_status,
)
from tests.zope.configuration import configure
from tests.zope.handlers import IAddress
from tests.zope.users import User, acting_as, know_users


def acting() -> Any:
    """Who acts in this thread: the first participation's principal, or None."""
    interaction = management.queryInteraction()
    return interaction and interaction.participations[0].principal


def whoami(input: Any) -> str:
    """A task's function: the id of whom it acts for."""
    return str(acting().id)


@pytest.fixture(autouse=True)
def no_interaction() -> Iterator[None]:
    """Before and after each test nobody acts."""
    vars(management.thread_local).clear()
    yield
    vars(management.thread_local).clear()


@pytest.fixture
def tasks() -> None:
    """A task that tells whom it acts for."""
    register("whoami", whoami)
    register("echo", echo)


@pytest.fixture
def users() -> Any:
    """Two users that are known everywhere."""
    return know_users("ann", "bob")


SYSTEM = management.system_user


def add_as(user: Any, service: Any, *args: Any, **options: Any) -> int:
    """Add a job for a user."""
    with acting_as(user):
        jobid: int = service.add(*args, **options)
    return jobid


def result_of(service: Any, jobid: int) -> Any:
    """What became of a job."""
    service.process()
    assert service.getError(jobid) == "None"
    return service.getResult(jobid)


def test_remembered(service: Any) -> None:
    """A job shows the id of the principal who added it; a cron job too."""
    with acting_as(User("ann")):
        job = service.jobs[service.add("echo")]
        cron = service.jobs[service.addCronJob("echo", minute=5)]
    assert (job.principal, cron.principal) == ("ann", "ann")
    transaction.commit()
    job._p_invalidate()
    cron._p_invalidate()
    assert (job.principal, cron.principal) == ("ann", "ann")


def test_not_remembered(service: Any) -> None:
    """Without an interaction, and for the system, there is nobody to remember."""
    assert service.jobs[service.add("echo")].principal is None
    assert service.jobs[add_as(SYSTEM, service, "echo")].principal is None
    assert service.jobs[add_as(None, service, "echo")].principal is None
    with acting_as():
        assert service.jobs[service.add("echo")].principal is None


def test_first_principal(service: Any) -> None:
    """Of several who take part, the first one counts."""
    with acting_as(None, User("ann"), User("bob")):
        assert service.jobs[service.add("echo")].principal == "ann"


def test_costs_nothing_without(service: Any) -> None:
    """A job's record is not larger where nobody is to be remembered."""
    alone, ann = service.add("echo"), add_as(User("ann"), service, "echo")
    alone, ann = (service.jobs[jobid].__getstate__() for jobid in (alone, ann))
    assert alone[-1] is None
    assert ann[-1] == {"principal": "ann"}
    assert len(pickle.dumps(ann, 3)) - len(pickle.dumps(alone, 3)) < 40


def test_runs_for(service: Any, users: Any) -> None:
    """A task acts for whoever added its job, whoever processes it."""
    jobid = add_as(User("ann"), service, "whoami")
    other = add_as(User("bob"), service, "whoami")
    with acting_as(User("carl")):
        assert result_of(service, jobid) == "ann"
        assert result_of(service, other) == "bob"
        assert acting().id == "carl"
    assert management.queryInteraction() is None


@pytest.mark.parametrize("group", [False, True])
def test_workers(db: Any, service: Any, users: Any, group: bool) -> None:
    """So it is in the background, for each job of a group, and nothing is left over."""
    left = []
    register("left", lambda input: left.append(management.queryInteraction()))
    service.processorArguments = {"groupFinish": group}
    expected = ["ann", "bob", SYSTEM.id, "ann"]
    jobs = [
        add_as(users.users.get(user, SYSTEM), service, "whoami") for user in expected
    ]
    last = service.add("left")
    transaction.commit()
    with processing(service):
        wait_for_status(db, last, "completed")
    transaction.begin()
    assert [service.getResult(jobid) for jobid in jobs] == expected
    assert [p.principal for p in left[0].participations] == [SYSTEM]


def test_system(service: Any) -> None:
    """What nobody has added runs as the system, with the same kind of interaction."""
    assert result_of(service, service.add("whoami")) == SYSTEM.id


def request_of() -> Any:
    """The first participation of the interaction."""
    return management.getInteraction().participations[0]


def test_request(service: Any, users: Any) -> None:
    """The first participation is a publication request, as tasks expect."""
    found = []
    register("look", lambda input: found.append(request_of()))
    add_as(User("ann"), service, "look")
    service.process()
    (request,) = found
    assert type(request) is ProcessorRequest
    assert IParticipation.providedBy(request)
    assert IRequest.providedBy(request)
    assert IPublicationRequest.implementedBy(ProcessorRequest)
    assert request.principal is users.users["ann"]
    assert ProcessorRequest("a", 1).getPositionalArguments() == ("a", 1)


def test_set_principal(service: Any, users: Any) -> None:
    """A task may act for somebody else: jobs that it adds are theirs."""

    def become(service: Any, jobid: int, input: Any) -> int:
        request_of().setPrincipal(User("bob"))
        added: int = service.add("whoami")
        return added

    register_full("become", become)
    added = result_of(service, add_as(User("ann"), service, "become"))
    assert service.jobs[added].principal == "bob"
    assert service.getResult(added) == "bob"


def test_jobs_of_a_task(service: Any, users: Any) -> None:
    """What a task adds is added by whom it acts for; the system's stay so."""
    register_full("again", lambda service, jobid, input: service.add("whoami"))
    mine = result_of(service, add_as(User("ann"), service, "again"))
    its = result_of(service, service.add("again"))
    assert service.jobs[mine].principal == "ann"
    assert service.jobs[its].principal is None


def test_what_tasks_do_to_interactions(service: Any, users: Any) -> None:
    """A task may end its interaction or begin another: nobody else sees that."""

    def end(input: Any) -> None:
        management.endInteraction()

    def begin(input: Any) -> None:
        management.endInteraction()
        management.newInteraction()

    for number, function in enumerate([end, begin]):
        register(f"task{number}", function)
        for user in ("ann", "bob"):
            add_as(User(user), service, f"task{number}")
            add_as(User(user), service, "whoami")
    with acting_as(User("carl")):
        service.process()
        assert acting().id == "carl"
    results = [job.output for job in service.jobs.values() if job.task == "whoami"]
    assert results == ["ann", "bob"] * 2


def test_nobody_elses_interaction(service: Any, users: Any) -> None:
    """What one task has ended, another one can't bring back."""

    def end(input: Any) -> None:
        management.endInteraction()

    def restore(input: Any) -> Any:
        management.restoreInteraction()
        return management.queryInteraction()

    register("end", end)
    register("restore", restore)
    add_as(User("ann"), service, "end")
    second = add_as(User("bob"), service, "restore")
    vars(management.thread_local).clear()
    management.newInteraction()
    management.endInteraction()
    before = dict(vars(management.thread_local))
    assert result_of(service, second) is None
    assert vars(management.thread_local) == before


def test_none_is_left_where_there_was_none(service: Any, users: Any) -> None:
    """Afterwards the thread has no interaction, not even an empty one."""
    add_as(User("ann"), service, "whoami")
    vars(management.thread_local).clear()
    service.process()
    assert "interaction" not in vars(management.thread_local)


def test_subscribers(service: Any, users: Any) -> None:
    """The subscribers that hear of the beginning act for the same principal."""
    heard = []

    def hear(event: Any) -> None:
        if IJobStarted.providedBy(event):
            heard.append(acting().id)

    zope.event.subscribers.append(hear)
    add_as(User("ann"), service, "echo")
    service.process()
    assert heard == ["ann"]


def test_gone(service: Any, users: Any) -> None:
    """A job whose principal is gone fails, says so, and is not tried again."""
    ran = []
    provide("run", SimpleTask(ran.append, retry=5))
    jobid = add_as(User("carl"), service, "run")
    service.process()
    job = service.jobs[jobid]
    assert (job.status, job.attempt, ran) == ("error", 1, [])
    assert service.getError(jobid) == (
        "The principal 'carl', who added the job, is not known here any more."
    )
    assert job.attempts[0].failure.type == "PrincipalGone"
    know_users("carl")
    service.retry(jobid)
    service.process()
    assert service.getStatus(jobid) == "completed"


def test_gone_with_the_authentication(service: Any) -> None:
    """Where nothing knows principals, everyone is gone."""
    jobid = add_as(User("ann"), service, "whoami")
    service.process()
    assert service.jobs[jobid].attempts[0].failure.type == PrincipalGone.__name__


def test_gone_in_the_background(db: Any, service: Any) -> None:
    """A worker goes on behind it."""
    gone = add_as(User("ann"), service, "whoami")
    other = service.add("whoami")
    transaction.commit()
    with processing(service):
        wait_for_status(db, other, "completed")
        wait_for_status(db, gone, "error")


def test_cron(service: Any, users: Any, environment: Any) -> None:
    """Each run of a cron job is for whoever added it; once gone, runs fail."""
    with acting_as(User("ann")):
        jobid = service.addCronJob("whoami", every=60)
    service.process(environment.now + 60)
    job = service.jobs[jobid]
    assert (job.output, job.status) == ("ann", "cronjob")
    del users.users["ann"]
    service.process(environment.now + 120)
    assert job.status == "cronjob"
    assert [run.outcome for run in job.runs] == ["completed", "error"]


def test_local_users(db: Any) -> None:
    """Principals are looked up in the site of the service."""
    register("whoami", whoami)
    root = db.open().root()
    root["Application"] = rootFolder()
    site = root["Application"]["site"] = Folder()
    site.setSiteManager(LocalSiteManager(site))
    manager = site.getSiteManager()
    manager["default"]["tasks"] = TaskService()
    service = manager["default"]["tasks"]
    jobid = add_as(User("dora"), service, "whoami")
    know_users("dora", registry=manager)
    assert result_of(service, jobid) == "dora"


def test_of_a_task(service: Any, users: Any) -> None:
    """A task may run as the system whoever asks for it; the job still tells who did."""
    provide("whoami", SimpleTask(whoami, runAs="system"))
    jobid = add_as(User("gone"), service, "whoami")
    assert result_of(service, jobid) == SYSTEM.id
    assert service.jobs[jobid].principal == "gone"


def test_of_a_service(service: Any, users: Any) -> None:
    """So may all tasks of a service, but for those that say otherwise."""
    service.runAs = "system"
    provide("mine", SimpleTask(whoami, runAs="adder"))
    both = [add_as(User("ann"), service, name) for name in ("whoami", "mine")]
    assert [result_of(service, jobid) for jobid in both] == [SYSTEM.id, "ann"]


def test_decorator(service: Any, users: Any) -> None:
    """The decorator takes it too."""
    task("whoami", runAs="system")(whoami)
    assert result_of(service, add_as(User("ann"), service, "whoami")) == SYSTEM.id


def test_bad_run_as(service: Any, db: Any) -> None:
    """What makes no sense is refused, and never taken for one or the other."""
    with pytest.raises(InvalidArgument, match="runAs: 'adder' or 'system', not 'root'"):
        SimpleTask(echo, runAs="root")
    with pytest.raises(InvalidArgument, match="runAs"):
        task("name", runAs="")(echo)
    service.runAs = "root"
    transaction.commit()
    with pytest.raises(InvalidArgument, match="runAs"):
        service.startProcessing()
    provide("echo", SimpleTask(echo, retry=0))
    jobid = service.add("echo")
    service.process()
    assert "runAs" in service.getError(jobid)


def test_without_the_plug_in(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing knows principals, none is remembered, and tasks run as before."""
    monkeypatch.setattr(plugins, "load", lambda group: [])
    found = []
    register("look", lambda input: found.append(management.queryInteraction()))
    jobid = add_as(User("ann"), service, "look")
    service.process()
    assert service.jobs[jobid].principal is None
    assert found == [None]


def test_not_installed(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job is not run as somebody else because something is not installed."""
    jobid = add_as(User("ann"), service, "whoami")
    monkeypatch.setattr(plugins, "load", lambda group: [])
    provide("whoami", SimpleTask(whoami, retry=0))
    service.process()
    assert service.getStatus(jobid) == "error"
    assert service.jobs[jobid].attempts[0].failure.type == NotInstalled.__name__
    assert "lovely.remotetask[zope]" in service.getError(jobid)


def test_installed() -> None:
    """The plug-in is found by its entry point: else install the package anew."""
    from lovely.remotetask import principals

    assert plugins.load(GROUP) == [principals]


def test_absolute_urls(service: Any) -> None:
    """Applications register adapters for the request's class, by its old name."""
    configure(
        '<adapter for="* lovely.remotetask.processor.ProcessorRequest"'
        ' factory=".handlers.Address" provides=".handlers.IAddress" />'
    )

    def address(service: Any, jobid: int, input: Any) -> Any:
        found = zope.component.getMultiAdapter((service, request_of()), IAddress)
        return found.text

    register_full("address", address)
    jobid = service.add("address")
    assert result_of(service, jobid) == "https://example.org/service"


def test_zopes_own_registry(service: Any) -> None:
    """Those who are not logged in are a principal, too, with Zope's own registry."""
    registry = PrincipalRegistry()
    registry.definePrincipal("ann", "Ann", login="ann", password="secret")
    registry.defineDefaultPrincipal("anybody", "Anybody")
    zope.component.provideUtility(registry, IAuthentication)
    anybody = registry.unauthenticatedPrincipal()
    jobs = [
        add_as(user, service, "whoami")
        for user in (anybody, registry.getPrincipal("ann"))
    ]
    assert [result_of(service, jobid) for jobid in jobs] == ["anybody", "ann"]


def test_visitors(service: Any) -> None:
    """So are they where the application does not say who they are."""
    configure('<include package="zope.principalregistry" />')
    visitor = zope.component.getUtility(IFallbackUnauthenticatedPrincipal)
    assert result_of(service, add_as(visitor, service, "whoami")) == visitor.id
    gone = add_as(User("gone"), service, "whoami")
    service.process()
    assert service.getStatus(gone) == "error"
