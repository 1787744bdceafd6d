"""Samples of several repeats, summarized as a line with a median and a range."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured value. `facts` are further figures, `complaints` the faults that its integrity check found."""

    value: float
    unit: str
    facts: Mapping[str, float] = field(default_factory=dict)
    complaints: Sequence[str] = ()

    def with_complaints(self, complaints: Sequence[str]) -> "Sample":
        """Return a copy that has these complaints as well."""
        return replace(self, complaints=[*self.complaints, *complaints])


@dataclass(slots=True)
class MeasuredLine:
    """Every sample of one line, by repeat."""

    id: str
    samples: dict[int, Sample] = field(default_factory=dict)

    def values(self) -> list[float]:
        return [each.value for each in self.samples.values()]

    def summary(self, ceiling: "MeasuredLine | None") -> dict[str, Any]:
        """Return the line as the JSON file has it. `of_ceiling` is the median of the ratios within each repeat."""
        samples = list(self.samples.values())
        unit = samples[0].unit
        ratios = [
            sample.value / ceiling.samples[repeat].value
            for repeat, sample in self.samples.items()
            if ceiling and repeat in ceiling.samples and unit == "payments/s"
        ]
        names = {name: None for sample in samples for name in sample.facts}
        summary = {
            "id": self.id,
            "unit": unit,
            "median": statistics.median(self.values()),
            "min": min(self.values()),
            "max": max(self.values()),
            "of_ceiling": statistics.median(ratios) if ratios else None,
            "repeats": len(samples),
            "integrity": not any(sample.complaints for sample in samples),
            **{
                name: statistics.median(s.facts[name] for s in samples if name in s.facts)
                for name in names
            },
        }
        return {name: rounded(value) for name, value in summary.items()}


def rounded(value: Any) -> Any:
    """Round every float to four significant digits: the noise is larger than the fifth."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return value


def percentile(values: list[float], percent: int) -> float:
    """Return the value below which this percentage of the values lies."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
