"""maskmill from Python: what the commands do, as functions. See docs/python.md.

Nothing is imported until it is asked for: ``import maskmill`` takes no time, and the commands
import this module before the user's own folders have left the search path.
"""

TYPE_CHECKING = False  # as typing.TYPE_CHECKING, which would have to be imported to be asked
if TYPE_CHECKING:
    from maskmill.commands import audit as audit
    from maskmill.commands import convert as convert
    from maskmill.commands import prelabel as prelabel
    from maskmill.model import Model as Model
    from maskmill.model import Prediction as Prediction
    from maskmill.model import load_model as load_model
    from maskmill.opened_run import OpenedRun as OpenedRun
    from maskmill.opened_run import open_run as open_run

_HOMES = {
    "prelabel": "maskmill.commands",
    "convert": "maskmill.commands",
    "audit": "maskmill.commands",
    "load_model": "maskmill.model",
    "Model": "maskmill.model",
    "Prediction": "maskmill.model",
    "open_run": "maskmill.opened_run",
    "OpenedRun": "maskmill.opened_run",
}
"""Public name -> the module that is imported for it."""

__all__ = [
    "Model",
    "OpenedRun",
    "Prediction",
    "audit",
    "convert",
    "load_model",
    "open_run",
    "prelabel",
]

if not TYPE_CHECKING:  # a type checker would take any name for an attribute

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module 'maskmill' has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
