"""The forms for cron jobs, made with zope.formlib."""

from __future__ import annotations

from typing import Any

import transaction
import zope.schema
from zope.browserpage.viewpagetemplatefile import ViewPageTemplateFile
from zope.component import ComponentLookupError
from zope.formlib import form
from zope.formlib.interfaces import ConversionError
from zope.formlib.textwidgets import FileWidget
from zope.interface import Interface
from zope.interface.interfaces import IInterface

from lovely.remotetask import zones
from lovely.remotetask.browser import display, tokens
from lovely.remotetask.browser.base import Page
from lovely.remotetask.browser.widgets import JSONWidget, NumbersWidget, TaskWidget
from lovely.remotetask.calendars import RANGES, Cron, Fields
from lovely.remotetask.errors import InvalidArgument, RemoteTaskError, SchemaNotMet
from lovely.remotetask.schedule import Every


def _numbers(name: str, title: str) -> zope.schema.Tuple:
    low, high = RANGES[name][0], RANGES[name][-1]
    return zope.schema.Tuple(
        __name__=name,
        title=title,
        description=f"{low} to {high}",
        value_type=zope.schema.Int(min=low, max=high),
        required=False,
        missing_value=(),
    )


class ISchedule(Interface):
    """When a cron job is due: one of the kinds."""

    minute = _numbers("minute", "Minutes")
    hour = _numbers("hour", "Hours")
    dayOfMonth = _numbers("dayOfMonth", "Days of the month")
    month = _numbers("month", "Months")
    dayOfWeek = _numbers("dayOfWeek", "Days of the week")
    cron = zope.schema.TextLine(
        title="Expression",
        description="As cron has them: */15 8-18 * * mon-fri",
        required=False,
    )
    timezone = zope.schema.TextLine(
        title="Time zone",
        description="Such as Europe/Berlin; UTC, if it is left empty",
        required=False,
    )
    every = zope.schema.Float(
        title="Every", description="Seconds from run to run", required=False
    )
    delay = zope.schema.Float(
        title="Once, after", description="Seconds from now", required=False
    )


class ICronJobForm(ISchedule):
    """What a new cron job is made of."""

    task = zope.schema.Field(title="Task")
    input = zope.schema.Field(
        title="Input",
        description='As JSON: {"folder": "news"}. Nothing means None.',
        required=False,
    )


FIELDS = form.Fields(ICronJobForm)
FIELDS["task"].custom_widget = TaskWidget
FIELDS["input"].custom_widget = JSONWidget
for _name in RANGES:
    FIELDS[_name].custom_widget = NumbersWidget

#: How the fields are grouped: a heading, and their names.
GROUPS = (
    ("By the calendar", tuple(RANGES)),
    ("Or with an expression", ("cron",)),
    ("Time zone of these", ("timezone",)),
    ("Or at an interval, or once", ("every", "delay")),
)


def no_validation(*_: Any) -> tuple[()]:
    """For buttons that take nothing from the form."""
    return ()


class Input(form.FormBase):
    """The fields of a task's ``inputSchema``, as a part of another form."""

    prefix = "taskinput"
    ignoreContext = True
    actions: Any = ()

    def __init__(self, context: Any, request: Any, schema: Any) -> None:
        super().__init__(context, request)
        # All are to be given, also those that are not to be changed later.
        self.form_fields = form.Fields(schema, for_input=True)
        self.setUpWidgets()

    def read(self, data: dict[str, Any]) -> list[Any]:
        """Put what was typed into the dict; the errors."""
        return list(self.validate(None, data))


class CronForm(Page, form.FormBase):
    """What both forms have."""

    template = ViewPageTemplateFile("cronjob.pt")
    form_fields = FIELDS
    method = "POST"
    prefix = "form"
    #: The part for a task's own input, if it has a schema.
    subform: Input | None = None

    def setUpWidgets(self, ignore_request: bool = False) -> None:
        self.adapters: dict[Any, Any] = {}
        # Nothing is taken from the service but the tasks.
        self.widgets = form.setUpInputWidgets(
            self.form_fields,
            self.prefix,
            self.service,
            self.request,
            ignore_request=ignore_request,
        )

    def __call__(self) -> Any:
        posted = self.request.method == "POST"
        if posted and not tokens.is_own(self.request):
            return self.refuse()
        if posted:
            self.check_manager()
        else:
            self.request.form.pop("form.actions.add", None)
            self.request.form.pop("form.actions.apply", None)
        self._drop_odd_values()
        return super().__call__()

    def _drop_odd_values(self) -> None:
        """Each of our fields sends a text; what else was sent is left out."""
        for name in [f"form.{field.__name__}" for field in self.form_fields]:
            if not isinstance(self.request.form.get(name, ""), str):
                del self.request.form[name]

    @property
    def enctype(self) -> str | None:
        """How files are sent, if there are any."""
        widgets = () if self.subform is None else self.subform.widgets
        files = any(isinstance(widget, FileWidget) for widget in widgets)
        return "multipart/form-data" if files else None

    def groups(self) -> list[dict[str, Any]]:
        """The widgets of the schedule, grouped."""
        return [
            {
                "title": title,
                "widgets": [self.widgets[name] for name in names],
                "css": "columns" if len(names) > 1 else "single",
            }
            for title, names in GROUPS
        ]

    def complain(self, error: Exception) -> None:
        """Say what is wrong; nothing is changed, and what was typed stays.

        It is said beside the field that the message begins with, if it does.
        """
        transaction.abort()
        name, _, why = str(error).partition(": ")
        if isinstance(error, SchemaNotMet) and self.subform is None:
            name, why = "input", str(error)
        widget = self.widgets.get(name)
        if widget is None:
            self.error = str(error)
        else:
            # Where formlib looks for what was wrong with the text of the field.
            widget._error = ConversionError(f"{why[:1].upper()}{why[1:]}", error)
            self.errors = (widget._error,)
        self.form_reset = False

    def leave(self) -> None:
        """Back to the jobs."""
        self.request.response.redirect(f"{self.url()}/jobs.html", status=303)


def schedule_of(data: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a schedule; what was left empty is left out."""
    given = {name: data[name] for name in ISchedule if data.get(name) not in (None, ())}
    zone = given.pop("timezone", zones.UTC)
    if {"cron", *RANGES} & given.keys():
        given["timezone"] = zone
    return given


class AddCronJob(CronForm):
    """A new cron job."""

    label = "Add a cron job"
    is_new = True

    def setUpWidgets(self, ignore_request: bool = False) -> None:
        super().setUpWidgets(ignore_request)
        task = self.service.getAvailableTasks().get(self.text("form.task"))
        schema = getattr(task, "inputSchema", None)
        if IInterface.providedBy(schema) and schema is not Interface:
            self.subform = _subform(self.service, self.request, schema)

    def validate(self, action: Any, data: dict[str, Any]) -> Any:
        errors = list(super().validate(action, data))
        if self.subform is not None:
            data["input"] = {}
            errors += self.subform.read(data["input"])
        return errors

    @form.action("Add", name="add")
    def handle_add(self, action: Any, data: dict[str, Any]) -> None:
        schedule, task = schedule_of(data), data.get("task")
        try:
            if task is None:  # formlib minds only fields that were sent
                raise InvalidArgument("task: one is needed.")
            jobid = self.service.addCronJob(task, data.get("input"), **schedule)
        except RemoteTaskError as error:
            self.complain(error)
        else:
            self.request.response.redirect(f"{self.url()}/{jobid}", status=303)

    @form.action("Show the fields of its input", name="fields", validator=no_validation)
    def handle_fields(self, action: Any, data: Any) -> None:
        self.form_reset = False

    @form.action("Cancel", name="cancel", validator=no_validation)
    def handle_cancel(self, action: Any, data: Any) -> None:
        self.leave()


def _subform(service: Any, request: Any, schema: Any) -> Input | None:
    """The fields of a schema; None if there is a kind that has no widget."""
    try:
        return Input(service, request, schema)
    except ComponentLookupError:
        return None


class EditCronJob(CronForm):
    """Another schedule for a cron job."""

    form_fields = FIELDS.omit("task", "input")
    is_new = False

    @property
    def service(self) -> Any:
        return self.object.__parent__

    @property
    def label(self) -> str:
        return f"Job {self.object.id}: when it runs"

    @property
    def now(self) -> str:
        """The schedule that it has."""
        return display.schedule(self.object)

    def setUpWidgets(self, ignore_request: bool = False) -> None:
        super().setUpWidgets(ignore_request)
        for name, value in current(self.object).items():
            if ignore_request or not self.widgets[name].hasInput():
                self.widgets[name].setRenderedValue(value)

    @form.action("Apply", name="apply")
    def handle_apply(self, action: Any, data: dict[str, Any]) -> None:
        job = self.object
        try:
            job.update(**schedule_of(data))
            if not self.service.reschedule(job.id):
                raise InvalidArgument("This job is over, and does not run again.")
        except RemoteTaskError as error:
            self.complain(error)
        else:
            self.request.response.redirect(self.url(job), status=303)

    @form.action("Cancel", name="cancel", validator=no_validation)
    def handle_cancel(self, action: Any, data: Any) -> None:
        self.leave()


def current(job: Any) -> dict[str, Any]:
    """What the form shows of a job's schedule."""
    schedule = job.schedule
    if job.delay is not None:
        return {"delay": f"{job.delay:.15g}"}
    if isinstance(schedule, Every):
        return {"every": f"{schedule.interval / 1_000_000:.15g}"}
    if isinstance(schedule, Cron):
        return {"cron": schedule.expression, "timezone": schedule.timezone}
    if isinstance(schedule, Fields):
        found = {name: getattr(schedule, name) for name in RANGES}
        return {**found, "timezone": schedule.timezone}
    return {}
