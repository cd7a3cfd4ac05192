"""A run's directory: made once, never over another, every file where DESIGN says it is."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets as chance
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from harness.errors import SpecError, StoreError
from harness.history.chain import check_chain
from harness.model.secrets import MASK, SHORTEST
from harness.store.whole import write_whole

__all__ = ["RunDir", "find_run"]

MANIFEST = "manifest.json"
_ENVIRONMENT = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, slots=True)
class RunDir:
    """The paths of one run."""

    path: Path

    @classmethod
    def create(cls, reports: Path, name: str, started: datetime) -> RunDir:
        """A new, empty run directory `<UTC>-<name>-<id>` under `reports`. Raises StoreError when it cannot be made."""
        reports = reports.absolute()  # other processes, with folders of their own, are told these paths
        stamp = started.strftime("%Y%m%dT%H%M%SZ")
        try:
            reports.mkdir(parents=True, exist_ok=True)
            for _ in range(100):
                path = reports / f"{stamp}-{name}-{chance.token_hex(2)}"
                try:
                    path.mkdir()
                except FileExistsError:
                    continue
                for folder in ("ops", "logs", "inputs"):
                    (path / folder).mkdir()
                return cls(path)
        except OSError as exc:
            raise StoreError(f"{reports}: cannot make a run directory: {exc.strerror}") from exc
        raise StoreError(f"{reports}: no free run directory name for {name!r}")

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def ops(self) -> Path:
        return self.path / "ops"

    @property
    def undo(self) -> Path:
        return self.path / "undo.jsonl"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def inputs(self) -> Path:
        return self.path / "inputs"

    @property
    def sealed(self) -> bool:
        """Whether it was judged to the end once: its files are under a manifest."""
        return (self.path / MANIFEST).exists()

    def discard(self) -> None:
        """Remove the directory of a run that never began; legal when it holds folders only. Recorded files stay."""
        for folder in (self.ops, self.logs, self.inputs, self.path):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def write(self, name: str, text: str) -> Path:
        """Write a derived file whole, or not at all. Raises StoreError."""
        target = self.path / name
        write_whole(target, text)
        return target

    def write_inputs(self, documents: Mapping[str, str]) -> None:
        """Keep the documents that the run was made of, by file name. Raises StoreError."""
        for name, text in documents.items():
            self.write(f"inputs/{name}", text)

    def environment_names(self) -> tuple[str, ...]:
        """The variables of the environment that the run's documents name, sorted; none where there are no documents yet."""
        texts = [path.read_text(encoding="utf-8") for path in self.inputs.glob("*.yaml")]
        return tuple(sorted({name for text in texts for name in _ENVIRONMENT.findall(text)}))

    def environment_values(self, environ: Mapping[str, str]) -> frozenset[str]:
        """The values that the run took from an environment, for `scrub`, when that environment was this one."""
        return frozenset(value for name in self.environment_names() if (value := environ.get(name)))

    def scrub(self, secrets: Collection[str]) -> None:
        """Take secrets out of what processes of the stack logged and, once nothing can need it, out of the undo journal."""
        files = [path for path in self.logs.rglob("*") if path.is_file()]
        if self.undo.exists() and b'"t":"closed"' in self.undo.read_bytes():
            files.append(self.undo)
        for path in files:
            text = path.read_bytes()
            clean = text
            for secret in secrets:
                if len(secret) >= SHORTEST:
                    for form in {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}:
                        clean = clean.replace(form.encode(), MASK.encode())
            if clean != text:
                path.write_bytes(clean)

    def seal(self) -> str:
        """Write `manifest.json`, SHA-256 of every recorded and derived file; returns the manifest's own SHA-256."""
        hashes = {name: _sha256(self.path / name) for name in self._files()}
        text = json.dumps({"version": 1, "run": self.run_id, "files": hashes}, indent=1, sort_keys=True) + "\n"
        self.write(MANIFEST, text)
        return hashlib.sha256(text.encode()).hexdigest()

    def verify(self, only: Collection[str] | None = None) -> tuple[str, ...]:
        """What does not fit the manifest: "changed: x", "missing: x", "added: x"; then the first line of the events that does
        not follow the one before it: "broken: events.jsonl:12: ...". Empty when all is as sealed.

        `only`: look at these files, where the run has them. Raises StoreError when there is no readable manifest.
        """
        try:
            sealed: dict[str, str] = json.loads((self.path / MANIFEST).read_text())["files"]
        except (OSError, ValueError, KeyError) as exc:
            raise StoreError(f"{self.path / MANIFEST}: no readable manifest: {exc}") from exc
        present = set(self._files())
        if only is not None:
            present &= set(only)
            sealed = {name: digest for name, digest in sealed.items() if name in only}
        problems = [f"missing: {name}" for name in sorted(set(sealed) - present)]
        problems += [f"added: {name}" for name in sorted(present - set(sealed))]
        problems += [
            f"changed: {name}" for name in sorted(present & set(sealed)) if _sha256(self.path / name) != sealed[name]
        ]
        if only is None and self.events.exists():
            chain = check_chain(self.events)
            if chain.broken is not None:
                problems.append(f"broken: {self.events.name}:{chain.broken}: {chain.why}")
        return tuple(problems)

    def _files(self) -> list[str]:
        found = (file for file in self.path.rglob("*") if file.is_file())
        return sorted(str(file.relative_to(self.path)) for file in found if file.name != MANIFEST)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_run(text: str, reports: Path) -> RunDir:
    """The run that a person named: a path, a run id, its unique beginning or end, or "last". Raises SpecError."""
    if Path(text, "events.jsonl").is_file() or Path(text, "plan.json").is_file():
        return RunDir(Path(text).resolve())
    runs = sorted(path for path in reports.glob("2*Z-*") if path.is_dir()) if reports.is_dir() else []
    if text == "last" and runs:
        return RunDir(runs[-1].resolve())
    matching = [path for path in runs if path.name.startswith(text) or path.name.endswith(text)]
    if len(matching) == 1:
        return RunDir(matching[0].resolve())
    if matching:
        raise SpecError(
            f"{text!r} names {len(matching)} runs in {reports}: {', '.join(path.name for path in matching[:5])}"
        )
    known = f"`last` is the newest of {', '.join(path.name for path in runs[-3:])}" if runs else "there is none yet"
    meant = "; did you mean `last`" if runs and text.lower() in ("latest", "newest", "recent") else ""
    raise SpecError(f"no run {text!r} in {reports}{meant}{'? ' if meant else '; '}{known}")
