"""Pickles read without running anything: tensors and plain values as they are, the rest inert.

A pickle is a program that names functions and calls them. Here a name never reaches Python's
import: the few that make tensors and containers are answered by functions of this module, every
other by a class of its own that only keeps what it was given. So optimizers, progress meters and
settings beside the weights cost nothing, and their plain values can be read.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final, NoReturn

from maskmill.schemas.errors import WeightsRefused

Answers = dict[str, Any]
"""Full name of a function, class or constant -> what stands in its place."""

_HARMFUL: Final = frozenset(
    """
    os posix nt ntpath subprocess sys shutil socket importlib imp runpy code codeop ctypes pty
    operator marshal pickle _pickle builtins __builtin__ webbrowser commands popen2 multiprocessing
    asyncio threading signal tempfile glob fileinput pip pdb timeit trace torch.hub torch.jit
    torch.utils.cpp_extension numpy.f2py
    """.split()  # noqa: SIM905
)
_PLAIN: Final = frozenset(
    (set, frozenset, list, dict, tuple, slice, range, complex, bytearray, object, int, float, str,
     bool, bytes, type)
)  # fmt: skip
_BUILTINS: Final = ("builtins", "__builtin__")
_MODULE_STATE: Final = "_modules"


class Inert:
    """Something that a pickle wanted to have built, and what it would have been built from.

    ``name`` is that of the class or function, ``arguments`` those of the call, ``state`` what its
    attributes would have been, ``entries`` what a list or dict of its kind would have held.
    """

    name = ""
    callable = True

    def __new__(cls, *arguments: Any, **_: Any) -> "Inert":
        """Keep the arguments; some opcodes call nothing else."""
        if not cls.callable:
            refuse(cls.name)
        made = super().__new__(cls)
        made.arguments = arguments
        made.state = {}
        made.entries = {}
        return made

    arguments: tuple[Any, ...]
    state: Any
    entries: dict[Any, Any]

    def __init__(self, *_: Any, **__: Any) -> None:
        """Everything is done in ``__new__``, which is all that some opcodes call."""

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        try:
            self.entries[key] = value
        except TypeError:  # an unhashable key: of no use to anyone here
            return

    def append(self, value: Any) -> None:
        """What a list of this kind would have been given."""
        self.entries[len(self.entries)] = value

    def extend(self, values: Iterable[Any]) -> None:
        """As :meth:`append`, for several."""
        for value in values:
            self.append(value)

    def add(self, value: Any) -> None:
        """What a set of this kind would have been given."""
        self.append(value)

    @property
    def is_module(self) -> bool:
        """Whether it is a whole network rather than its weights."""
        return isinstance(self.state, dict) and _MODULE_STATE in self.state


def refuse(asked: str) -> NoReturn:
    """Say that a pickle asks for something that only code would need.

    Raises:
        WeightsRefused: always.
    """
    raise WeightsRefused(asked)


class InertUnpickler(pickle.Unpickler):
    """Reads one pickle; ``answers`` and ``storage`` say what becomes of tensors.

    ``asked`` collects the names that became :class:`Inert`.

    Raises:
        WeightsRefused: (while loading) a name that only harmful files have, or a call of
            something's method; its text is that name alone.
    """

    def __init__(
        self, file: io.BufferedIOBase, *, answers: Answers, storage: Callable[[Any], Any]
    ) -> None:
        super().__init__(file, encoding="latin1")
        self._answers = {**_CONTAINERS, **answers}
        self._storage = storage
        self.asked: list[str] = []

    def find_class(self, module: str, name: str) -> Any:
        """What stands in for a name; nothing is imported."""
        full = f"{module}.{name}"
        if full in self._answers:
            return self._answers[full]
        if module in _BUILTINS:
            if name == "getattr":
                return _attribute
            if name not in {kind.__name__ for kind in _PLAIN}:
                refuse(full)
        elif module.partition(".")[0] in _HARMFUL or module in _HARMFUL:
            refuse(full)
        self.asked.append(full)
        return _stand_in(full, callable_="." not in name)

    def persistent_load(self, pid: Any) -> Any:
        """A tensor's memory, by the identity the file gives it."""
        return self._storage(pid)


def _stand_in(full: str, *, callable_: bool) -> type[Inert]:
    return type("Inert", (Inert,), {"name": full, "callable": callable_})


def _attribute(owner: Any, name: str, *_: Any) -> type[Inert]:
    """An attribute of something: may be kept (progress meters do), but not called."""
    return _stand_in(f"{getattr(owner, 'name', type(owner).__name__)}.{name}", callable_=False)


def _dictionary(*arguments: Any) -> OrderedDict[Any, Any]:
    """A dict of whatever kind; the factory of a defaultdict is left out."""
    given = [argument for argument in arguments if isinstance(argument, list | dict | tuple)]
    return OrderedDict(*given[:1])


def _encoded(text: str, *_: Any) -> bytes:
    """Bytes, as protocol 2 writes them."""
    return text.encode("latin1")


_CONTAINERS: Final[Answers] = {
    "collections.OrderedDict": OrderedDict,
    "collections.defaultdict": _dictionary,
    "collections.Counter": _dictionary,
    "_codecs.encode": _encoded,
    **{f"{module}.{kind.__name__}": kind for module in _BUILTINS for kind in (
        set, frozenset, list, dict, tuple, slice, complex, bytearray, int, float, str, bool,
    )},
}  # fmt: skip


def plain(value: Any) -> Any:
    """A value as dicts, lists, strings and numbers; an inert object as what its state holds.

    Enums and other things that are made from one value become that value, paths a string.
    """
    if isinstance(value, Inert):
        return _plain_inert(value)
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    return value


def _plain_inert(value: Inert) -> Any:
    if value.name.startswith("pathlib."):
        return "/".join(map(str, value.arguments))
    if isinstance(value.state, dict) and value.state:
        return plain(value.state)
    if value.entries:
        return plain(value.entries)
    if len(value.arguments) == 1 and not isinstance(value.arguments[0], type):
        return plain(value.arguments[0])
    return None
