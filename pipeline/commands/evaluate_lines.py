"""The figures of `spikeline evaluate` for a person."""

from collections.abc import Mapping
from typing import Any

from spikeline.pipeline.engines import INT16


def tuned_lines(facts: Mapping[str, Any]) -> list[str]:
    """What was chosen, and what other limits would have given."""
    lines = [
        f"tuned: threshold {facts['threshold']:g}, hold {facts['hold_us'] / 1e3:g} ms, segment F1"
        f" {facts['f1_macro']:.3f} with {facts['false_per_hour']:.1f} false activations per hour (at most"
        f" {facts['most_false_per_hour']:g}) on {facts['data']}; written to {facts['written']}",
        *(f"  clipped: {text}" for text in clipped(facts["engine"], facts["clipped"])),
        "  best F1 for a limit of false activations per hour:",
    ]
    return lines + [
        f"  {row['false_per_hour']:10.1f}  F1 {row['f1_macro']:.3f}  threshold {row['threshold']:g},"
        f" hold {row['hold_us'] / 1e3:g} ms"
        for row in facts["frontier"]
    ]


def stream_lines(facts: dict[str, Any]) -> list[str]:
    """The continuous figures for a person."""
    lines = [
        f"continuous: {facts['positive_streams']} streams with gestures,"
        f" {facts['positive_minutes']:.1f} min; {facts['negative_streams']} without,"
        f" {facts['negative_minutes']:.1f} min; threshold {facts['threshold']:g},"
        f" hold {facts['hold_us'] / 1e3:g} ms ({facts['settings_from']})",
        f"  of                 {facts['data']}; engine {facts['engine']}",
    ]
    if facts["positive_streams"]:
        interval = facts["f1_macro_interval"]
        within = " (95 % interval {:.3f} to {:.3f})".format(*interval) if interval else ""
        lines += [
            f"  segment F1         {facts['f1_macro']:.3f} macro at IoU 0.5{within}, {facts['f1_micro']:.3f}"
            f" over all; {facts['f1_macro_no_neutral_time']:.3f} with no time neutral",
            "                     " + ", ".join(f"{name} {f1:.2f}" for name, f1 in facts["f1"].items()),
        ]
    for name, where in (("negative", "negative streams"), ("in_pauses", "the pauses")):
        if rate := facts.get(f"false_activations_{name}"):
            lines.append("  false activations  " + rate_text(rate) + f" of {where}")
    if facts["positive_streams"]:
        times = facts["onset_to_decision_ms"]
        if times["sensor"]:
            sensor, both, compute = (times[name] for name in ("sensor", "sum", "compute"))
            lines.append(
                f"  onset to decision  median {sensor['median']:.0f} ms, p90 {sensor['p90']:.0f} ms of sensor"
                f" time; with this machine's work {both['median']:.1f} and {both['p90']:.1f} ms (work alone"
                f" {compute['median']:.2f} and {compute['p90']:.2f} ms)"
            )
        lines += [
            f"  decided            {facts['decided']} of {facts['performances']} performances before they"
            " ended",
            f"  label flips        {facts['flips_per_minute']:.1f} per minute,"
            f" {facts['class_flips_per_minute']:.1f} with none and no label taken as one; a model that is"
            f" always right has {facts['truth_changes_per_minute']:.1f}",
        ]
    lines.append(
        f"  activity           {facts['spikes_per_second']:,.0f} spikes,"
        f" {facts['synops_per_second']:,.0f} AC, {facts['mac_per_second']:,.0f} MAC per second:"
        f" {facts['power_paper_uw']:,.1f} uW by the papers' arithmetic;"
        f" {facts['skip_ratio']:.0%} of the windows skipped"
    )
    found = clipped(facts["engine"], facts["clipped"], facts["windows"])
    return lines + [f"  clipped            {text}" for text in found]


def clipped(engine: str, count: int, steps: int = 0) -> list[str]:
    """How many membranes did not fit, and in one of so many steps; nothing of an engine that has room."""
    if engine != INT16:
        return []
    return [f"{count:,} membranes by {engine}" + (f", {count / steps:.3g} a step" if steps else "")]


def rate_text(rate: dict[str, Any]) -> str:
    if rate["per_hour"] is None:
        return f"{rate['count']} in no time at all"
    return (
        f"{rate['per_hour']:.1f} per hour (95 % interval {rate['per_hour_low']:.1f} to"
        f" {rate['per_hour_high']:.1f}): {rate['count']} in {rate['hours'] * 60:.1f} min"
    )


def clip_lines(facts: Mapping[str, Any]) -> list[str]:
    """The figures per clip for a person."""
    labels = list(facts["per_class"])
    low, high = facts["accuracy_low"], facts["accuracy_high"]
    lines = [
        f"clips: right on {facts['accuracy']:.1%} of {facts['samples']} (95 % interval {low:.1%} to"
        f" {high:.1%}); {facts['data']}, protocol {facts['protocol']}"
    ]
    if facts["shorter"]:
        lines.append(f"  {facts['shorter']} clips are shorter than a sample: filled up with empty windows")
    width = max(*map(len, labels), 3) + 4
    undecided = any(facts["undecided"])
    lines.append(
        f"{'class':{width}s}right" + "".join(f"{i:5d}" for i in range(len(labels))) + "    ?" * undecided
    )
    rows = zip(labels, facts["confusion"], facts["undecided"], strict=True)
    for i, (label, row, none) in enumerate(rows):
        cells = "".join(f"{n or '.':>5}" for n in ([*row, none] if undecided else row))
        lines.append(f"{i:2d} {label:{width - 3}s}{facts['per_class'][label]:5.0%}{cells}")
    if facts["accuracy_at"]:
        lines.append("accuracy after step " + _over_time(facts["accuracy_at"]))
    lines += control_lines(facts)
    lines += [
        f"steps per sample   {facts['steps']}, of which {facts['skip_ratio']:.0%} were skipped",
        f"NASAR              {facts['nasar']:.4f} spikes per neuron and step"
        + (f"; NSAR by step {_over_time(facts['nsar'], '.4f')}" if facts["nsar"] else ""),
        "spikes per step    " + ", ".join(f"{k} {v:.0f}" for k, v in facts["spikes_per_step"].items()),
        f"synops per step    {facts['synops_per_step']:,.0f} AC, {_per_layer(facts['synops_per_layer'])}",
        f"MAC per step       {facts['mac_per_step']:,.0f}, of one that is run"
        f" {_per_layer(facts['mac_per_layer'])}",
    ]
    steps = facts["samples"] * facts["stretches"] * facts["steps"]
    found = clipped(facts["engine"], facts["clipped"], steps)
    lines += [f"clipped            {text}" for text in found]
    return lines + energy_lines(facts)


def control_lines(facts: Mapping[str, Any]) -> list[str]:
    """How much of the answer needs time, where that was asked for."""
    said = {"shuffled": "frames in random order", "reset": "state reset at each step"}
    return [
        f"control            right on {found['accuracy']:.1%} (95 % interval {found['accuracy_low']:.1%} to"
        f" {found['accuracy_high']:.1%}) with {said[name]}"
        + "".join(f"; clipped {text}" for text in clipped(facts["engine"], found["clipped"]))
        for name, found in facts["controls"].items()
    ]


def energy_lines(facts: Mapping[str, Any]) -> list[str]:
    paper, ran, measured = (facts[f"energy_{name}_uj"] for name in ("paper", "ran", "measured"))
    lines = [
        "energy per sample, three figures that say different things:",
        f"  paper            {paper:,.2f} uJ, what spikes ask for: 4.6 pJ per MAC, 0.9 pJ per AC",
        f"  ran              {ran:,.2f} uJ, what the engine executed and moved, same figures",
        "  measured         "
        + (
            "absent: this machine has no power meter that can be read"
            if measured is None
            else f"{measured:,.0f} uJ, the whole processor's"
        ),
    ]
    if "r_ee" in facts:
        lines.append(
            f"r_EE               {facts['r_ee']:.2f}: energy of {facts['against']} over this model's"
            " (paper arithmetic)"
            + "".join(
                f"; in that one clipped {text}" for text in clipped(facts["engine"], facts["against_clipped"])
            )
        )
    return lines


def _over_time(values: list[float], form: str = ".1%") -> str:
    """A few steps of many: 1, 2, 4, ... and the last."""
    steps = sorted({2**k for k in range(16) if 2**k < len(values)} | {len(values)})
    return ", ".join(f"{t}: {values[t - 1]:{form}}" for t in steps)


def _per_layer(counts: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {n:,.0f}" for name, n in counts.items()) or "none"
