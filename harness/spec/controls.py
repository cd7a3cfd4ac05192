"""`kind: controls`: the controls that a project adds to the shipped mapping, or puts in its place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from harness.errors import SpecError
from harness.model.control import Control, Controls, Evidence
from harness.spec.decode import decode
from harness.spec.report import At, Report
from harness.spec.scalars import Doc, Text
from harness.spec.yaml_text import read

__all__ = ["ControlsDoc", "load_controls"]


class ControlDoc(Doc):
    framework: Text = Field(description="the standard, regulation or house rule")
    edition: Text = Field(description="which edition of it")
    control: Text = Field(description="its article, clause or number")
    asks: Text = Field(description="what it asks for, in your words")
    by: Annotated[list[Evidence], Field(min_length=1)] = Field(description="the sorts of evidence that support it")


class ControlsDoc(Doc):
    """A mapping of controls."""

    version: Literal[1] = Field(description="the version of the document format")
    kind: Literal["controls"] = Field(description="what this document is")
    shipped: bool = Field(True, description="whether the shipped controls are kept beside these")
    controls: Annotated[list[ControlDoc], Field(min_length=1)] = Field(
        description="your controls; one of a shipped framework and number replaces that"
    )


def load_controls(path: Path) -> Controls:
    """The mapping in a document. Raises SpecError for every problem."""
    report = Report()
    at = At(node=read(path), path="")
    doc = decode(at, ControlsDoc, report)
    seen: set[tuple[str, str]] = set()
    for index, one in enumerate(() if doc is None else doc.controls):
        if (one.framework, one.control) in seen:
            place = at.walk("controls", index, "control")
            assert place is not None
            report.error(place, f"{one.framework} {one.control} is there twice")
        seen.add((one.framework, one.control))
    if report.failed or doc is None:
        raise SpecError(report.ordered("error"))
    controls = (
        Control(framework=one.framework, edition=one.edition, control=one.control, asks=one.asks, by=tuple(one.by))
        for one in doc.controls
    )
    return Controls(controls=tuple(controls), shipped=doc.shipped)
