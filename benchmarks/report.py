"""A benchmark's JSON into a Markdown table with the bars beside it."""

from pathlib import Path

from load_results import Results


def write_report(results: Results, out: Path) -> str:
    lines = []
    for name, rounds in results.rounds.items():
        for turn in rounds:
            for who, m in turn.items():
                lines.append(
                    f"{name:14} {who:11} {m.requests_per_s:6.3f}/s p50 {m.p50_s:6.2f} p95 {m.p95_s:6.2f} n {m.n} lost {m.n_unanswered} wer {sum(e.n_errors for e in m.errors.values())}/{sum(e.n_words for e in m.errors.values())} load {m.load_average:.1f}"
                )
    for name, turns in results.numbers.items():
        lines += [f"{name}: {turn}" for turn in turns]
    lines.append(f"stages: {results.stages}")
    return "\n".join(lines)
