from collections.abc import Callable
from typing import Any

subscribers: list[Callable[[Any], object]]

def notify(event: object) -> None: ...
