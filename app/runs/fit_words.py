"""Whether a training fits, in words: what the planner says, for people who ask no number of it."""

from app.runs.costs.memory import Cost
from app.runs.outlook import DevicePlan, Outlook
from app.sizes import filesize


def about(size: float) -> str:
    """Return a size that was foretold, no more exact than it is: two digits."""
    return filesize(float(f"{size:.2g}"))


def fit_sentences(outlook: Outlook) -> list[str]:
    """Say of each device whether a training fits on it."""
    # Of unlike cards each kind is there by itself, too.
    listed = [device for device in outlook.devices if not device.are_told_apart]
    return [_fit_sentence(device, names_it=len(listed) > 1) for device in listed]


def _fit_sentence(device: DevicePlan, *, names_it: bool) -> str:
    plan = device.plan
    needs = about(plan.memory.total)
    if not device.is_there:
        return f"Training needs about {needs} of memory."
    place = f"{device.name} ({device.host})" if names_it else "this machine"
    if plan.available is None:
        return f"Training needs about {needs}; how much {place} has is not known."
    has = about(plan.available)
    if plan.fits:
        return f"Fits on {place}: training needs about {needs} of the {has} that it can use."
    if plan.fits_in_small_steps:
        least = about(plan.least_memory.total)
        return (
            f"Fits on {place} in small steps: training needs about {needs} at full speed, it can "
            f"use {has}, and with about {least} it goes more slowly."
        )
    least = about(plan.least_memory.total)
    return f"Too large for {place}: training needs at least about {least}, and it can use {has}."


def full_sentence(outlook: Outlook) -> str:
    """Say what full fine-tuning would need instead; empty if it would need no more."""
    plan = outlook.best.plan
    if plan.full_memory.total <= plan.memory.total:
        return ""
    sentence = f"Full fine-tuning would need about {about(plan.full_memory.total)} of memory"
    if plan.full_seconds > 1.2 * plan.seconds:
        sentence += f" and about {plan.full_seconds / plan.seconds:.2g} times as long"
    return sentence + "."


def remedies(outlook: Outlook) -> str:
    """Say what would fit, of a training that does not fit on any device; empty if it does."""
    best = outlook.best
    plan = best.plan
    if outlook.fits or plan.available is None:
        return ""
    if plan.fits_in_small_steps:
        return (
            "It can be started all the same: when memory runs short, it reads less at once by "
            "itself, and what is learned stays the same."
        )
    if plan.four_bit_memory is not None and plan.four_bit_memory.total <= plan.available:
        return (
            "It can be started all the same: where nothing else helps, the base model is held in "
            "4 bits, which is a little less exact."
        )
    ways = ["a smaller base model"]
    held_by_text = plan.least_memory.parts[Cost.ACTIVATIONS]
    if plan.least_memory.total - held_by_text / 2 <= plan.available:
        ways.append("examples half as long")
    ways += [
        f"the base model divided over all {device.count} devices, if you choose as many"
        for device in outlook.devices
        if device.divided is not None and device.divided.fits_in_small_steps
    ][:1]
    ways.append("a machine with more memory")
    listed = ", ".join(ways[:-1]) + " or " + ways[-1]
    return f"What would fit: {listed}. You may try it all the same; nothing is lost if it stops."
