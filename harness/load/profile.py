"""Find a load profile and set its options: a built-in name, or "path.py:ClassName" ("path.py:run" of aiolocust's short form).

Pure but for importing the profile.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from difflib import get_close_matches
from hashlib import blake2b
from importlib.machinery import SourceFileLoader
from inspect import get_annotations, isclass, iscoroutinefunction
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, ClassVar, get_origin, get_type_hints

from harness.errors import Problem, SpecError
from harness.load.aiolocust_contract import AiolocustUser, from_function, refusal, standing_in
from harness.load.outcomes import MODELS
from harness.load.user import User
from harness.model.catalog import load_dotted
from harness.model.fields import JsonObject
from harness.model.profiles import PROFILES

__all__ = ["load_profile", "option_types"]

"""The built-in profiles by name."""


def load_profile(profile: str, options: JsonObject) -> type[User]:
    """The profile's class with every option set as a class attribute; the class itself is left as it was.

    Raises SpecError for an unknown name, a file or class that is not there or cannot be imported, an unknown model, and
    all wrong options at once (`where` is "load.profile" or "load.with.NAME"). Nothing but the import is carried out.
    """
    cls = _find(profile)
    if cls.model is not None and cls.model not in MODELS:
        raise _wrong("load.profile", f"{cls.__name__}.model: unknown model {cls.model!r}", _near(cls.model, MODELS))
    if cls.run is User.run:
        raise _wrong("load.profile", f"{cls.__name__} has no run()", "write `async def run(self) -> None:`")
    if issubclass(cls, AiolocustUser) and (refused := refusal(cls)) is not None:
        raise _wrong("load.profile", refused, None)
    values, problems = _values(cls, options)
    if problems:
        raise SpecError(problems)
    return type(cls.__name__, (cls,), {"__module__": cls.__module__, "__doc__": cls.__doc__, **values})


def option_types(cls: type[User]) -> dict[str, Any]:
    """The options of a profile: name -> annotation of each public annotated class attribute, base to derived.

    A trailing underscore is left out (`client_` is the option `client`). Those of `User` itself are no
    options, except as a derived class annotates them anew. Raises SpecError for an annotation that names nothing.
    """
    names = [
        name
        for base in reversed(cls.__mro__)
        if issubclass(base, User) and base is not User
        for name in get_annotations(base)
        if not name.startswith("_")
    ]
    try:
        hints = get_type_hints(cls, include_extras=True)
    except (NameError, TypeError) as exc:
        raise _wrong("load.profile", f"{cls.__name__}: an annotation cannot be read: {exc}", None) from exc
    return {
        name.removesuffix("_"): hints[name] for name in dict.fromkeys(names) if get_origin(hints[name]) is not ClassVar
    }


def _values(cls: type[User], options: JsonObject) -> tuple[dict[str, Any], list[Problem]]:
    from pydantic import TypeAdapter, ValidationError
    from pydantic.errors import PydanticSchemaGenerationError

    types, values, problems = option_types(cls), {}, []
    attributes = {name: f"{name}_" if f"{name}_" in get_type_hints(cls) else name for name in types}
    for name, value in options.items():
        where = f"load.with.{name}"
        if name not in types:
            problems.append(_problem(where, f"unknown option {name!r} of profile {cls.__name__}", _near(name, types)))
            continue
        try:
            # JSON mode: a YAML list may be a tuple, but text is never taken for a number
            values[attributes[name]] = TypeAdapter(types[name]).validate_json(json.dumps(value), strict=True)
        except ValidationError as exc:
            said = exc.errors()[0]["msg"]
            said = said[0].lower() + said[1:]
            problems.append(_problem(where, f"{said}, got {value!r}", f"declared as {_shown(types[name])}"))
        except (PydanticSchemaGenerationError, TypeError) as exc:
            problems.append(_problem(where, f"cannot be set from a document: {exc}", None))
    return values, problems


def _find(profile: str) -> type[User]:
    if profile in PROFILES:
        found = load_dotted(PROFILES[profile])
        assert isclass(found) and issubclass(found, User)
        return found
    path, colon, name = profile.rpartition(":")
    if not colon or not path.endswith(".py"):
        close = get_close_matches(profile, PROFILES, n=1)
        known = f"known: {', '.join(sorted(PROFILES))}, or a file as path.py:ClassName"
        help_ = f"did you mean {close[0]!r}? {known}" if close else known
        raise _wrong("load.profile", f"unknown profile {profile!r}", help_)
    module = _module(Path(path), profile)
    found = getattr(module, name, None)
    if isclass(found) and issubclass(found, User):
        return found
    if name == "run" and iscoroutinefunction(found):
        return from_function(found)
    own = [key for key, value in vars(module).items() if isclass(value) and value.__module__ == module.__name__]
    users = [key for key in own if issubclass(getattr(module, key), User)]
    if found is not None:
        raise _wrong("load.profile", f"{profile!r} is not a subclass of harness.load.User", _near(name, users))
    raise _wrong("load.profile", f"no class {name!r} in {path}", _near(name, users))


class _AsWritten(SourceFileLoader):
    """Without bytecode, which Python takes for that of a file changed within the second, where both are as long."""

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


def _module(path: Path, profile: str) -> ModuleType:
    if not path.is_file():
        raise _wrong("load.profile", f"no such file: {str(path)!r}", f"from profile {profile!r}")
    name = f"blackstart_profile_{blake2b(str(path.resolve()).encode(), digest_size=6).hexdigest()}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_AsWritten(name, str(path)))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # annotations are looked up there
    try:
        with standing_in():
            spec.loader.exec_module(module)
    except Exception as exc:
        del sys.modules[name]
        place = f":{exc.lineno}" if isinstance(exc, SyntaxError) else ""
        raise _wrong(
            "load.profile", f"{path}{place}: {type(exc).__name__}: {exc}", "the file is imported as it is"
        ) from exc
    return module


def _near(name: str, known: Any) -> str:
    close = get_close_matches(name, list(known), n=1)
    listed = f"known: {', '.join(sorted(known))}" if known else "there are none"
    return f"did you mean {close[0]!r}? {listed}" if close else listed


def _shown(annotation: Any) -> str:
    return annotation.__name__ if isclass(annotation) else str(annotation).replace("typing.", "")


def _problem(where: str, message: str, help_: str | None) -> Problem:
    return Problem(file="load", where=where, message=message, help=help_)


def _wrong(where: str, message: str, help_: str | None) -> SpecError:
    return SpecError(_problem(where, message, help_))
