"""`Job` and the names its wildcards matched → the frozen `Plan`.

The second of two stages: everything that was left open when the job was read
(what the wildcards match, which system images there are, whether a tar was
POSTed) is now known, so groups become nodes with literal names.  The order of
the matches is kept: it numbers the nodes.

Pure: nothing is listed, opened or authorized here, and the same job with the
same matches gives the same plan.  The order of a group's devices decides
nothing but which of several immediate outputs comes first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from zerocloud.errors import JobError
from zerocloud.job.description import Job
from zerocloud.job.devices import KINDS, Device
from zerocloud.job.document import listed, plain
from zerocloud.job.group import DEFAULT_ATTACH, Group
from zerocloud.job.limits import JobCaps
from zerocloud.job.paths import ObjectPath, name_problem
from zerocloud.job.plan import Image, Input, Node, Output, Plan
from zerocloud.job.program import USER_IMAGE
from zerocloud.job.rules import check_total
from zerocloud.job.wildcards import Match, Pattern

IMMEDIATE_CONTENT_TYPE = "text/html"

# Where a node without `attach` runs: beside what it reads one of per node,
# else beside data, else beside the image, else beside the script.
_ATTACH_ORDER = ("stdin", "input", "image", "script")


@dataclass(frozen=True)
class PlanContext:
    """What a plan depends on besides the job and the matches.

    `posted_image`: a tar came with the request; `payload`: the request's body
    is data for stdin; `system_images`: the names (and aliases) that exist.
    """

    account: str
    caps: JobCaps = field(default_factory=JobCaps)
    posted_image: bool = False
    payload: bool = False
    default_content_type: str = "application/octet-stream"
    system_images: Collection[str] = ()


@dataclass(frozen=True)
class _Instance:
    """One node to be made: its name, and its match if it has one."""

    name: str
    match: Match | None = None


def build_plan(
    job: Job,
    matches: Mapping[Pattern, Sequence[Match]],
    *,
    context: PlanContext,
) -> Plan:
    """Make the plan of a job.

    `matches` holds for each of `job.patterns` what it matched, in the order of
    the listings.  Raises JobError: `no_match`, `too_many_nodes`,
    `unknown_image`, `job_schema` or `job_rule`.
    """
    check_images(job, context)
    todo = [_instances(group, matches) for group in job.groups]
    check_total(sum(map(len, todo)), context.caps)
    nodes: list[Node] = []
    for group, instances in zip(job.groups, todo, strict=True):
        for instance in instances:
            index = len(nodes) + 1
            nodes.append(_node(index, instance, group, context))
    _check_writers(nodes)
    return Plan(tuple(nodes), job.clock_nanoseconds, job.seed, job.determinism)


def check_images(job: Job, context: PlanContext) -> None:
    """Check every name of an image; needs no listing, so may come first.

    Raises JobError `job_schema` for a device that does not exist,
    `unknown_image` for an image in a program's path, `job_rule` when there is
    no image to look in.
    """
    for group in job.groups:
        for device in group.devices:
            _check_device(group, device, context)
        _check_program(group, context)


def _check_device(group: Group, device: Device, context: PlanContext) -> None:
    subject = f"group {plain(group.name)}: device {plain(device.name)}"
    if device.kind is None and device.name not in context.system_images:
        raise JobError(
            "job_schema",
            f"{subject} is not known; allowed are {_known(context)}",
            where=device.where,
        )
    if device.kind is None and device.keys:
        raise JobError(
            "job_rule",
            f"{subject} is a system image and has {listed(device.keys)}; "
            "allowed are name and mode",
            where=device.where,
        )
    if device.name == USER_IMAGE and device.path is None:
        _check_posted(subject, device, context)


def _check_posted(subject: str, device: Device, context: PlanContext) -> None:
    if not context.posted_image:
        raise JobError(
            "job_rule",
            f"{subject} has no path; image needs one when no tar is POSTed",
            where=device.where,
        )


def _known(context: PlanContext) -> str:
    images = sorted(context.system_images)
    text = listed(list(KINDS))
    if images:
        text += f", and the system images {listed(images)}"
    return text


def _check_program(group: Group, context: PlanContext) -> None:
    program = group.exec.program
    where = f"{group.exec.where}/path"
    if program.path is not None:
        return
    subject = f"group {plain(group.name)}: program {plain(str(program))}"
    images = _images(group, context)
    if program.image is None or program.image == USER_IMAGE:
        own = [i for i in images if i.system is None]
        if not (images if program.image is None else own):
            raise JobError(
                "job_rule",
                f"{subject} is a member of an image, and the group has none; "
                "add a device image with a path or a system image "
                f"({listed(sorted(context.system_images)) or 'none here'}); "
                "files of a host cannot be reached",
                where=where,
            )
    elif program.image not in context.system_images:
        raise JobError(
            "unknown_image",
            f"{subject} names no system image of this service; allowed are "
            f"{listed(sorted(context.system_images)) or 'none'}",
            where=where,
        )


def _instances(
    group: Group, matches: Mapping[Pattern, Sequence[Match]]
) -> list[_Instance]:
    device = group.wildcard_device
    if device is None or device.wildcard is None:
        if group.count == 1:
            return [_Instance(group.name)]
        return [
            _Instance(f"{group.name}-{number}")
            for number in range(1, group.count + 1)
        ]
    found = matches.get(device.wildcard, ())
    if not found:
        raise JobError(
            "no_match",
            f"group {plain(group.name)}: the wildcard "
            f"{plain(str(device.wildcard))} of device {device.name} matches "
            "no object",
            where=f"{device.where}/path",
        )
    return [
        _Instance(f"{group.name}-{number}", match)
        for number, match in enumerate(found, 1)
    ]


def _node(
    index: int, instance: _Instance, group: Group, context: PlanContext
) -> Node:
    images = _images(group, context, instance)
    name = instance.name
    return Node(
        index=index,
        name=name,
        group=group.name,
        program=group.exec.program,
        argv=(group.exec.name or name, *group.exec.args),
        env=group.exec.env,
        inputs=tuple(_inputs(group, instance, context)),
        outputs=tuple(_outputs(group, instance, context)),
        images=images,
        limits=group.limits,
        attach=_attach(group, instance),
        location=group.location,
        ok_exit=group.ok_exit,
    )


def _read_path(device: Device, instance: _Instance) -> ObjectPath | None:
    if isinstance(device.path, Pattern):
        return None if instance.match is None else instance.match.path
    return device.path


def _images(
    group: Group, context: PlanContext, instance: _Instance | None = None
) -> tuple[Image, ...]:
    """The layers of a node, topmost first: the user's, then the system's.

    The image that the program's path names belongs to them even when no
    device says so: a program is of little use without the files around it.
    """
    at = instance or _Instance(group.name)
    user: list[Image] = []
    system: list[str] = []
    for device in group.devices:
        if device.name == USER_IMAGE:
            path = _read_path(device, at)
            user = [Image(USER_IMAGE, path=path, posted=device.path is None)]
        elif device.kind is None:
            system.append(device.name)
    if not user and context.posted_image:
        user = [Image(USER_IMAGE, posted=True)]
    named = group.exec.program.image
    if named not in (None, USER_IMAGE, *system):
        system.append(str(named))
    return (*user, *(Image(name, system=name) for name in system))


def _inputs(
    group: Group, instance: _Instance, context: PlanContext
) -> Iterator[Input]:
    for device in group.devices:
        kind = device.kind
        if kind is not None and kind.reads and not kind.is_image:
            path = _read_path(device, instance)
            payload = path is None and context.payload
            yield Input(device.name, kind.access, path, payload)


def _outputs(
    group: Group, instance: _Instance, context: PlanContext
) -> Iterator[Output]:
    for device in group.devices:
        if device.kind is None or device.kind.reads:
            continue
        path = _write_path(device, instance)
        default = (
            IMMEDIATE_CONTENT_TYPE
            if path is None
            else context.default_content_type
        )
        yield Output(
            device=device.name,
            access=device.kind.access,
            path=path,
            content_type=device.content_type or default,
            meta=device.meta,
            min_size=device.min_size,
        )


def _write_path(device: Device, instance: _Instance) -> ObjectPath | None:
    """Where an output goes: its stars are matches, or the node's name."""
    if not isinstance(device.path, Pattern):
        return device.path
    match = instance.match
    captures = (
        (instance.name,) * device.path.stars
        if match is None
        else match.captures
    )
    path = device.path.fill(captures)
    problem = name_problem(path)
    if problem is not None:
        raise JobError(
            "job_rule",
            f"node {plain(instance.name)}: device {device.name} would write "
            f"{plain(str(path))}; {problem}",
            where=f"{device.where}/path",
        )
    return path


def _attach(group: Group, instance: _Instance) -> ObjectPath | None:
    """The object that the node should run beside, or None for anywhere.

    A device that writes, or has no path, is accepted and means anywhere: an
    output has no place before it is written.
    """
    readable = {
        d.name: d
        for d in group.devices
        if d.kind is not None and d.kind.reads and d.path is not None
    }
    if group.attach != DEFAULT_ATTACH:
        chosen = readable.get(group.attach)
        return None if chosen is None else _read_path(chosen, instance)
    order = [name for name in _ATTACH_ORDER if name in readable]
    wild = group.wildcard_device
    if wild is not None and wild.name != "script":
        # One match per node spreads the nodes; a fixed input would put all
        # of them on one server.
        order.insert(0, wild.name)
    return _read_path(readable[order[0]], instance) if order else None


def _check_writers(nodes: Sequence[Node]) -> None:
    writers: dict[ObjectPath, str] = {}
    for node in nodes:
        for output in node.stored_outputs:
            if output.path is None:
                continue
            writer = f"device {output.device} of node {plain(node.name)}"
            other = writers.setdefault(output.path, writer)
            if other is not writer:
                raise JobError(
                    "job_rule",
                    f"{other} and {writer} both write "
                    f"{plain(str(output.path))}; an object has one writer",
                    where=node.name,
                )
