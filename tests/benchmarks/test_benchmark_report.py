"""Summaries of samples as lines, and of lines as tables."""

from benchmarks import benchmark_report
from benchmarks.samples import MeasuredLine, Sample


def _line(id: str, *values: float, unit: str = "payments/s") -> MeasuredLine:
    samples = {n: Sample(value, unit, {"p50_ms": value / 10}) for n, value in enumerate(values)}
    return MeasuredLine(id, samples)


def test_a_line_has_median_range_and_the_median_of_the_ratios_per_repeat() -> None:
    ceiling = _line("ceiling", 100, 200, 400)
    summary = _line("drain", 50, 20, 100).summary(ceiling)
    assert (summary["median"], summary["min"], summary["max"]) == (50, 20, 100)
    assert (
        summary["of_ceiling"] == 0.25
    )  # of 0.5, 0.1 and 0.25: each repeat is compared with itself
    assert summary["p50_ms"] == 5
    assert summary["integrity"]


def test_other_units_have_no_ratio_and_a_complaint_is_not_lost() -> None:
    line = _line("lookup", 7, 8, unit="lookups/s")
    line.samples[2] = Sample(9, "lookups/s", complaints=["one is missing"])
    summary = line.summary(_line("ceiling", 100, 100, 100))
    assert summary["of_ceiling"] is None
    assert not summary["integrity"]


def test_the_markdown_has_a_row_for_each_line_and_names_the_machine() -> None:
    ceiling = _line("ceiling", 60_000)
    drain = _line("drain", 12_000)
    drain.samples[0] = Sample(12_000, "payments/s", {"cpu_us_worker": 70.4, "wal_bytes": 3_012})
    markdown = benchmark_report.markdown(
        {
            "measured_at": "2026-11-25T23:00:00+00:00",
            "machine": {
                "cores": 2,
                "processor": "a processor",
                "memory_gib": 24,
                "kernel": "6.1",
                "system": "Linux",
            },
            "versions": {"python": "3.11.7", "postgresql": "18.4", "kafka": "4.3.1"},
            "durability": {"fsync": "on", "synchronous_commit": "on"},
            "lines": [each.summary(ceiling) for each in (drain, ceiling)],
        }
    )
    assert "| drain | 0.20 | 12,000 | 12,000 | 12,000 | payments/s |" in markdown
    assert "| drain | 70.4 | 3,012 |" in markdown
    assert "2 cores (a processor), 24 GiB" in markdown
    assert "fsync on" in markdown
