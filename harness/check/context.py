"""What a check must know of the run beside its ops: the model, the regions asked, the faults as they really went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.check.index import Index
from harness.history.events import FaultEvent, SignalEvent, of_type
from harness.history.history import History
from harness.measure.facts import fault_results, load_report
from harness.measure.finals import regions_asked
from harness.model.plan import Plan

__all__ = ["CheckContext", "FaultSpan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultSpan:
    """One fault as it went. Its effect began within [effect_lo_ns, effect_hi_ns] and ended within [end_lo_ns, end_hi_ns].

    None: nobody saw it begin (`effect_hi_ns`) or end. Without an end the effect is taken to last.
    """

    id: str
    effect_lo_ns: int
    effect_hi_ns: int | None
    end_lo_ns: int | None = None
    end_hi_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckContext:
    """The ground on which every check of one history stands.

    `model`: the profile's (None: its ops mean nothing to us). `regions`: asked in the final reads, () when the stack names
    none (then the final reads say which there are); `evidence_regions`: read too, what only they hold is lost and named
    recoverable. `faults`: those that were applied, by effect; `faults_planned`: how many there should be. `unread`:
    "session@region" whose final read never succeeded. `sink`: the stack declares an independent sink of effects. `told`: the
    load left its account, so that a model of None is the profile's own word. `exports`: the stack's journals that it hands out.
    """

    model: str | None
    profile: str = ""
    regions: tuple[str, ...] = ()
    evidence_regions: tuple[str, ...] = ()
    faults: tuple[FaultSpan, ...] = ()
    faults_planned: int = 0
    unread: tuple[str, ...] = ()
    sink: bool = False
    told: bool = True
    exports: tuple[str, ...] = ()
    keys: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    _built: dict[int, tuple[History, Index]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_run(cls, history: History, plan: Plan) -> CheckContext:
        """The context of a recorded run, from its events and its plan. Model None when the load left no account."""
        report = load_report(history)
        asked, evidence = regions_asked(plan)
        touched = {event.id for event in of_type(history.events, FaultEvent) if event.stage == "applying"}
        spans = tuple(
            FaultSpan(
                id=fault.id,
                effect_lo_ns=fault.effect.lo_ns,
                effect_hi_ns=fault.effect.hi_ns,
                end_lo_ns=fault.end.lo_ns if fault.end else None,
                end_hi_ns=fault.end.hi_ns if fault.end else None,
            )
            for fault in fault_results(history, plan)
            if fault.effect is not None and fault.id in touched
        )
        signals = plan.experiment.stack.signals
        return cls(
            model=report.model if report else None,
            profile=report.profile if report else "",
            regions=asked,
            evidence_regions=evidence,
            faults=tuple(sorted(spans, key=lambda span: span.effect_lo_ns)),
            faults_planned=len(plan.faults),
            unread=report.unread if report else (),
            told=report is not None,
            exports=tuple(export.name for export in plan.experiment.stack.exports),
            keys={export.name: export.keys for export in plan.experiment.stack.exports},
            sink=any(signal.kind == "effects" for signal in signals)
            or any(event.event == "effect" for event in of_type(history.events, SignalEvent)),
        )

    def index(self, history: History) -> Index:
        """The history's columns as checks use them, built once for all checks of it. Empty histories give an empty one."""
        held = self._built.get(id(history))
        if held is None:
            # The history is kept with its index: were it freed, another could take its id.
            held = self._built[id(history)] = (history, Index(history.ops, self.model))
        return held[1]
