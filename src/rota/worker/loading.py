"""From `MODULE:NAME` to handlers."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import msgspec
from msgspec import Raw

from rota.worker.app import App, Handler
from rota.worker.frames import Declared


class BadApp(Exception):
    """A module of handlers cannot be used; the text says which and why."""


def load(targets: Iterable[str]) -> dict[str, Handler]:
    """Import apps (`module:name`; `module` alone: its only App) and return their handlers. Raises BadApp."""
    handlers: dict[str, Handler] = {}
    owners: dict[str, str] = {}
    for target in dict.fromkeys(targets):
        for name, handler in _app(target).handlers.items():
            if handlers.get(name, handler) is not handler:
                raise BadApp(f"two handlers are named {name!r}: in {owners[name]} and in {target}")
            handlers[name] = handler
            owners[name] = target
    return handlers


def schedules_of(target: str) -> list[dict[str, Any]]:
    """Import an app, and return the schedules that it declares. Raises BadApp."""
    try:
        return _app(target).schedules()
    except ValueError as wrong:
        raise BadApp(f"{target}: {wrong}") from None


def declared_by(targets: Iterable[str]) -> list[Declared]:
    """Return what each of these apps, which are imported, declares; one without schedules is left out. Raises BadApp."""
    found = []
    for target in dict.fromkeys(targets):
        try:
            schedules = [Raw(msgspec.json.encode(each)) for each in _app(target).schedules()]
        except (ValueError, TypeError) as wrong:  # TypeError: data that is no JSON
            found.append(Declared(target, wrong=str(wrong)))
        else:
            if schedules:
                found.append(Declared(target, schedules))
    return found


def _app(target: str) -> App:
    module_name, _, name = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except BaseException as wrong:  # a module may also leave by SystemExit
        raise BadApp(f"cannot import {module_name}: {type(wrong).__name__}: {wrong}{_where(wrong)}") from None
    if not name:
        return _only_app(module)
    found = module
    for part in name.split("."):
        found = getattr(found, part, None)  # type: ignore[assignment]
    if not isinstance(found, App):
        raise BadApp(
            f"{target}: {name} is no rota.App" if found is not None else f"{target}: {module_name} has no {name}"
        )
    return found


def _only_app(module: ModuleType) -> App:
    apps = {id(value): value for value in vars(module).values() if isinstance(value, App)}
    if len(apps) != 1:
        raise BadApp(
            f"{module.__name__} has {len(apps) or 'no'} rota.App{'s' * (len(apps) > 1)}; name one: MODULE:NAME"
        )
    return next(iter(apps.values()))


def _where(wrong: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(wrong.__traceback__) if "importlib" not in f.filename]
    ours = frames[-1] if len(frames) > 1 else None  # the first one is this module
    return f' (File "{ours.filename}", line {ours.lineno}, in {ours.name})' if ours else ""
