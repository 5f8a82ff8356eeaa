"""For zope.generations: it has services converted when the application starts."""

from __future__ import annotations

from typing import Any

from zope.generations.interfaces import IInstallableSchemaManager
from zope.interface import implementer

from lovely.remotetask import versions
from lovely.remotetask.evolve import evolve


@implementer(IInstallableSchemaManager)
class SchemaManager:
    """Its generations are the versions of services.

    The transactions that evolve needs are not those of the caller: there may be many.
    A service that was put into the database later is of the current version already.
    """

    generation = versions.CURRENT
    minimum_generation = versions.CURRENT

    def install(self, context: Any) -> None:
        """The database knows no generation: there may be services nevertheless."""
        evolve(context.connection.db())

    def evolve(self, context: Any, generation: int) -> None:
        """Convert all services."""
        evolve(context.connection.db())

    def getInfo(self, generation: int) -> str:
        """What the step to a generation does."""
        return f"Convert task services to version {generation} of their state."


schemaManager = SchemaManager()
