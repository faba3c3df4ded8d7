"""Jobs and matches → plans: nodes, names, channels, placement, writers."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from unittests.job.samples import (
    ACCOUNT,
    CAPS,
    IMAGES,
    find,
    group,
    parse,
    path,
    plan,
    unplanned,
)
from zerocloud.errors import JobError
from zerocloud.job.expand import PlanContext, build_plan, check_images
from zerocloud.job.limits import JobCaps
from zerocloud.job.paths import ObjectPath
from zerocloud.job.plan import Image, Input, Node, Output, Plan, Program
from zerocloud.job.wildcards import Match

STORE = [
    path("logs", "a.txt"),
    path("logs", "d/b.txt"),
    path("logs", "d/"),
    path("logs", "z.bin"),
    path("more", "a.txt"),
]
WILD = {"name": "stdin", "path": "swift://~/logs/*.txt"}


def _image_group(*devices: Any, program: str) -> list[Any]:
    return [group(exec={"path": program}, devices=list(devices))]


def _paths(made: Plan) -> list[str]:
    return [f"{p.container}/{p.object}" for p in made.writes()]


def _only(made: Plan) -> Node:
    assert len(made.nodes) == 1
    return made.nodes[0]


def test_group_without_devices_makes_one_node() -> None:
    node = _only(plan([group(location="here", ok_exit=[0, 1])]))
    assert node == Node(
        index=1,
        name="wc",
        group="wc",
        program=Program(path=path("bin", "wc.wasm")),
        argv=("wc",),
        env=(),
        inputs=(),
        outputs=(),
        images=(),
        limits=CAPS.defaults,
        location="here",
        ok_exit=(0, 1),
    )


def test_groups_make_nodes_numbered_in_order() -> None:
    made = plan([group("a"), group("b", count=3), group("c", devices=[WILD])],
                STORE)  # fmt: skip
    assert [(n.index, n.name, n.group) for n in made.nodes] == [
        (1, "a", "a"),
        (2, "b-1", "b"),
        (3, "b-2", "b"),
        (4, "b-3", "b"),
        (5, "c-1", "c"),
        (6, "c-2", "c"),
    ]


def test_argv_begins_with_exec_name_or_the_nodes_name() -> None:
    program = "swift://~/bin/x"
    made = plan(
        [
            group("a", exec={"path": program, "args": "-l 'x y'"}, count=2),
            group("b", exec={"path": program, "name": "cat", "args": []}),
        ]
    )
    assert [n.argv for n in made.nodes] == [
        ("a-1", "-l", "x y"),
        ("a-2", "-l", "x y"),
        ("cat",),
    ]


def test_wildcard_makes_a_numbered_node_per_match_in_listing_order() -> None:
    job = [group(devices=[WILD])]
    for names in (STORE, STORE[::-1]):
        made = plan(job, names)
        matched = [n for n in names if n in (STORE[0], STORE[1])]
        assert [n.name for n in made.nodes] == ["wc-1", "wc-2"]
        assert [n.inputs[0].path for n in made.nodes] == matched


def test_wildcard_with_one_match_is_numbered_too() -> None:
    assert _only(plan([group(devices=[WILD])], STORE[:1])).name == "wc-1"


def test_wildcard_over_containers_finds_each() -> None:
    device = {"name": "input", "path": "swift://~/*/a.txt"}
    made = plan([group(devices=[device])], STORE)
    assert list(made.reads())[1:] == [STORE[0], STORE[4]]


def test_wildcard_without_match_is_400_and_named() -> None:
    device = {"name": "stdin", "path": "swift://~/logs/*.csv"}
    error = unplanned([group("a"), group(devices=[device])], STORE)
    assert (error.code, error.status) == ("no_match", 400)
    assert error.where == "/1/devices/0/path"
    assert error.message == (
        "group wc: the wildcard swift://AUTH_a/logs/*.csv of device stdin "
        "matches no object"
    )


def test_wildcard_that_was_not_listed_matches_nothing() -> None:
    with pytest.raises(JobError, match="matches no object"):
        build_plan(
            parse([group(devices=[WILD])]), {}, context=PlanContext(ACCOUNT)
        )


def test_two_groups_with_one_wildcard_get_the_same_matches() -> None:
    job = [group("a", devices=[WILD]), group("b", devices=[WILD])]
    made = plan(job, STORE)
    assert [n.name for n in made.nodes] == ["a-1", "a-2", "b-1", "b-2"]
    assert [n.attach for n in made.nodes] == STORE[:2] * 2


def test_matches_beyond_the_cap_are_too_many_nodes() -> None:
    caps = JobCaps(nodes=2)
    job = [group("a"), group(devices=[WILD])]
    error = unplanned(job, STORE, caps=caps)
    assert (error.code, error.status) == ("too_many_nodes", 400)
    assert error.message == "job has 3 nodes; the limit is 2 (max_nodes)"
    assert len(plan(job[1:], STORE, caps=caps).nodes) == 2


@pytest.mark.parametrize(
    ("source", "target", "written"),
    [
        (
            "swift://~/logs/*.txt",
            "swift://~/out/*.cnt",
            ["out/a.cnt", "out/d/b.cnt"],
        ),
        (
            "swift://~/*/a.*",
            "swift://~/out-*/x.*",
            ["out-logs/x.txt", "out-more/x.txt"],
        ),
        (
            "swift://~/*/a.*",
            "swift://~/out/*",
            ["out/logs", "out/more"],
        ),
        (
            "swift://~/logs/*/*",
            "swift://~/out/*-*",
            ["out/d-b.txt"],
        ),
    ],
)
def test_output_stars_become_what_the_inputs_matched(
    source: str, target: str, written: list[str]
) -> None:
    devices = [
        {"name": "stdout", "path": target},
        {"name": "stdin", "path": source},
    ]
    for order in (devices, devices[::-1]):
        assert _paths(plan([group(devices=order)], STORE)) == written


def test_captures_with_stars_and_percent_stay_as_they_are() -> None:
    devices = [
        {"name": "stdin", "path": "swift://~/c/*"},
        {"name": "stdout", "path": "swift://~/*/x"},
    ]
    made = plan([group(devices=devices)], [path("c", "a*%2Fö")])
    assert list(made.writes()) == [path("a*%2Fö", "x")]


def test_output_stars_without_an_input_become_the_nodes_name() -> None:
    devices = [
        {"name": "stdout", "path": "swift://~/out-*/*/*.txt"},
        {"name": "stderr", "path": "swift://~/err/*"},
        {"name": "stdin", "path": "swift://~/c/fixed"},
    ]
    assert _paths(plan([group(devices=devices, count=2)])) == [
        "out-wc-1/wc-1/wc-1.txt",
        "err/wc-1",
        "out-wc-2/wc-2/wc-2.txt",
        "err/wc-2",
    ]
    assert _paths(plan([group(devices=devices)]))[1] == "err/wc"


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("swift://~/*/x", "d/b.txt/x; the container has a slash; Swift allow"),
        ("swift://~/out/" + "n" * 1020 + "*", "bytes; allowed are 1024"),
    ],
)
def test_output_name_that_swift_has_not_is_refused(
    target: str, text: str
) -> None:
    devices = [
        {"name": "stdin", "path": "swift://~/logs/*"},
        {"name": "stdout", "path": target},
    ]
    error = unplanned([group(devices=devices)], STORE[1:2])
    assert (error.code, error.where) == ("job_rule", "/0/devices/1/path")
    assert error.message.startswith("node wc-1: device stdout would write s")
    assert text in error.message


def test_output_name_that_is_empty_is_refused() -> None:
    devices = [
        {"name": "stdin", "path": "swift://~/c/a*"},
        {"name": "stdout", "path": "swift://~/out/*"},
    ]
    error = unplanned([group(devices=devices)], [path("c", "a")])
    assert error.code == "job_rule"
    assert "the object is missing" in error.message


@pytest.mark.parametrize(
    ("devices", "names"),
    [
        (
            [WILD, {"name": "stdout", "path": "swift://~/out/x"}],
            ["device stdout of node wc-1", "device stdout of node wc-2"],
        ),
        (
            [
                {"name": "stdin", "path": "swift://~/*/a.*"},
                {"name": "stdout", "path": "swift://~/out/x"},
            ],
            ["device stdout of node wc-1", "device stdout of node wc-2"],
        ),
        (
            [
                {"name": "stdout", "path": "swift://~/out/x"},
                {"name": "stderr", "path": "swift://./out/x"},
            ],
            ["device stdout of node wc", "device stderr of node wc"],
        ),
    ],
)
def test_two_writers_of_an_object_are_refused_by_name(
    devices: list[Any], names: list[str]
) -> None:
    error = unplanned([group(devices=devices)], STORE)
    assert error.code == "job_rule"
    assert error.message == (
        f"{names[0]} and {names[1]} both write swift://AUTH_a/out/x; an "
        "object has one writer"
    )


def test_two_writers_in_two_groups_are_refused() -> None:
    out = {"name": "stdout", "path": "swift://~/out/*"}
    fixed = {"name": "stdout", "path": "swift://~/out/a"}
    error = unplanned([group("a", devices=[out]), group("b", devices=[fixed])])
    assert (error.code, error.where) == ("job_rule", "b")
    assert "device stdout of node a and device stdout of node b" in str(error)


def test_fixed_output_of_one_match_is_allowed() -> None:
    out = {"name": "stdout", "path": "swift://~/out/x"}
    made = plan([group(devices=[WILD, out])], STORE[:1])
    assert _paths(made) == ["out/x"]


def test_object_read_and_written_in_one_job_is_allowed() -> None:
    devices = [
        {"name": "stdin", "path": "swift://~/c/x"},
        {"name": "input", "path": "swift://~/c/x"},
        {"name": "stdout", "path": "swift://~/c/x"},
    ]
    made = plan([group(devices=devices)])
    assert list(made.reads())[1:] == list(made.writes()) == [path("c", "x")]


def test_channels_have_the_access_of_their_device() -> None:
    devices = [
        {"name": "script", "path": "swift://~/c/s"},
        {"name": "stdout"},
        {"name": "stdin"},
        {"name": "output", "path": "swift://~/c/o", "min_size": 3},
        {"name": "input", "path": "swift://~/c/i"},
        {"name": "stderr", "content_type": "text/x", "meta": {"a": "b"}},
    ]
    node = _only(plan([group(devices=devices)]))
    assert node.inputs == (
        Input("script", "random", path("c", "s")),
        Input("stdin", "sequential"),
        Input("input", "random", path("c", "i")),
    )
    assert node.outputs == (
        Output("stdout", "sequential", None, "text/html"),
        Output(
            "output",
            "random",
            path("c", "o"),
            "application/octet-stream",
            min_size=3,
        ),
        Output("stderr", "sequential", None, "text/x", (("a", "b"),)),
    )
    assert [o.device for o in node.stored_outputs] == ["output"]
    assert [o.device for o in node.immediate_outputs] == ["stdout", "stderr"]


def test_stored_output_gets_the_operators_content_type() -> None:
    devices = [{"name": "stdout", "path": "swift://~/c/o"}]
    made = plan([group(devices=devices)], default_content_type="a/b")
    assert _only(made).outputs[0].content_type == "a/b"


@pytest.mark.parametrize("payload", [True, False])
def test_payload_goes_to_stdin_without_a_path_only(payload: bool) -> None:
    fixed = {"name": "stdin", "path": "swift://~/c/x"}
    job = [
        group("a", devices=[{"name": "stdin"}]),
        group("b", devices=[fixed]),
    ]
    made = plan(job, payload=payload)
    assert [n.inputs[0].payload for n in made.nodes] == [payload, False]


def test_unknown_device_lists_those_that_exist() -> None:
    error = unplanned(
        [group(devices=[{"name": "inptu", "path": "swift://~/c/*"}])]
    )
    assert (error.code, error.where) == ("job_schema", "/0/devices/0")
    assert error.message == (
        "group wc: device inptu is not known; allowed are stdin, stdout, "
        "stderr, input, output, image and script, and the system images "
        "python and python3"
    )
    error = unplanned([group(devices=[{"name": "db"}])], system_images=())
    assert error.message.endswith("output, image and script")


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"path": "swift://~/c/o"}, "has path; allowed are name and mode"),
        ({"meta": {}, "min_size": 0}, "has meta and min_size; allowed are"),
        ({"content_type": "a/b"}, "has content_type; allowed are name and"),
    ],
)
def test_system_image_with_keys_of_others_is_refused(
    keys: dict[str, Any], text: str
) -> None:
    error = unplanned([group(devices=[{"name": "python3", **keys}])])
    assert (error.code, error.where) == ("job_rule", "/0/devices/0")
    assert f"device python3 is a system image and {text}" in error.message
    plan([group(devices=[{"name": "python3", "mode": "file"}])])


def test_user_image_lies_over_system_images_in_the_jobs_order() -> None:
    devices = [
        {"name": "python3"},
        {"name": "image", "path": "swift://~/c/i.tar"},
        {"name": "python"},
    ]
    node = _only(plan([group(devices=devices)]))
    assert node.images == (
        Image("image", path=path("c", "i.tar")),
        Image("python3", system="python3"),
        Image("python", system="python"),
    )
    assert node.inputs == ()


def test_posted_tar_is_the_image_of_every_node() -> None:
    own = {"name": "image", "path": "swift://~/c/i.tar"}
    job = [
        group("a"),
        group("b", devices=[{"name": "image"}]),
        group("c", devices=[own]),
    ]
    made = plan(job, posted_image=True)
    posted = (Image("image", posted=True),)
    assert [n.images for n in made.nodes] == [
        posted,
        posted,
        (Image("image", path=path("c", "i.tar")),),
    ]


def test_image_without_path_and_tar_is_refused() -> None:
    error = unplanned([group(devices=[{"name": "image"}])])
    assert (error.code, error.where) == ("job_rule", "/0/devices/0")
    assert error.message == (
        "group wc: device image has no path; image needs one when no tar is "
        "POSTed"
    )


def test_image_by_wildcard_is_one_per_node() -> None:
    device = {"name": "image", "path": "swift://~/logs/*.txt"}
    made = plan(_image_group(device, program="file://x"), STORE)
    assert [n.images[0].path for n in made.nodes] == STORE[:2]
    assert [n.attach for n in made.nodes] == STORE[:2]


def test_image_named_by_the_program_is_mounted_last() -> None:
    made = plan(_image_group({"name": "python"}, program="file://python3:p"))
    assert [i.system for i in _only(made).images] == ["python", "python3"]
    made = plan(_image_group({"name": "python3"}, program="file://python3:p"))
    assert [i.system for i in _only(made).images] == ["python3"]


def test_program_in_an_unknown_image_lists_those_that_exist() -> None:
    error = unplanned(_image_group(program="file://perl:perl"))
    assert (error.code, error.where) == ("unknown_image", "/0/exec/path")
    assert error.message == (
        "group wc: program file://perl:perl names no system image of this "
        "service; allowed are python and python3"
    )
    error = unplanned(
        _image_group(program="file://perl:perl"), system_images=()
    )
    assert error.message.endswith("allowed are none")


@pytest.mark.parametrize(
    ("program", "devices", "posted"),
    [
        ("file:///etc/passwd", [], False),
        ("file://image:x", [], False),
        ("file://image:x", [{"name": "python3"}], False),
    ],
)
def test_program_in_no_image_of_the_group_is_refused(
    program: str, devices: list[Any], posted: bool
) -> None:
    error = unplanned(_image_group(*devices, program=program))
    assert (error.code, error.where) == ("job_rule", "/0/exec/path")
    assert "is a member of an image, and the group has none" in error.message
    assert "(python and python3); files of a host cannot be" in error.message


@pytest.mark.parametrize(
    ("program", "devices", "posted"),
    [
        ("file:///etc/passwd", [{"name": "python3"}], False),
        ("file://x", [], True),
        ("file://image:x", [], True),
        (
            "file://image:x",
            [{"name": "image", "path": "swift://~/c/i"}],
            False,
        ),
    ],
)
def test_program_in_an_image_of_the_group_is_planned(
    program: str, devices: list[Any], posted: bool
) -> None:
    job = _image_group(*devices, program=program)
    assert _only(plan(job, posted_image=posted)).program.path is None


def _attached(*devices: Any, attach: str = "default") -> list[Any]:
    """What the nodes attach to: the same for every order of the devices."""
    found = []
    for order in itertools.permutations(devices):
        made = plan([group(devices=list(order), attach=attach)], STORE)
        found.append([n.attach and n.attach.object for n in made.nodes])
    assert all(one == found[0] for one in found)
    return found[0]


def _dev(name: str, text: str | None = "x") -> dict[str, Any]:
    if text is None:
        return {"name": name}
    return {"name": name, "path": f"swift://~/logs/{text}"}


@pytest.mark.parametrize(
    ("devices", "attach", "objects"),
    [
        ([], "default", [None]),
        ([_dev("stdin", "s"), _dev("input", "i")], "default", ["s"]),
        ([_dev("input", "i"), _dev("image", "m")], "default", ["i"]),
        ([_dev("script", "p"), _dev("image", "m")], "default", ["m"]),
        ([_dev("script", "p"), _dev("stdin", None)], "default", ["p"]),
        ([_dev("stdout", "o")], "default", [None]),
        (
            [_dev("stdin", "s"), _dev("image", "*.txt")],
            "default",
            ["a.txt", "d/b.txt"],
        ),
        ([_dev("stdin", "s"), _dev("script", "z.*")], "default", ["s"]),
        ([_dev("stdin", "s"), _dev("input", "i")], "input", ["i"]),
        ([_dev("stdin", "s"), _dev("script", "p")], "script", ["p"]),
        (
            [_dev("stdin", "s"), _dev("input", "*.txt")],
            "input",
            ["a.txt", "d/b.txt"],
        ),
        ([_dev("stdin", "s"), _dev("input", "*.txt")], "stdin", ["s", "s"]),
        ([_dev("stdin", "s"), _dev("stdout", "o")], "stdout", [None]),
        ([_dev("stdin", None), _dev("input", "i")], "stdin", [None]),
        ([_dev("stdin", "s"), {"name": "python3"}], "python3", [None]),
    ],
)
def test_node_is_attached_by_name_or_by_a_fixed_preference(
    devices: list[Any], attach: str, objects: list[Any]
) -> None:
    assert _attached(*devices, attach=attach) == objects


def test_plan_carries_limits_seed_and_clock() -> None:
    job = {
        "version": 2,
        "nodes": [group("a", count=2, limits={"wall_seconds": 5})],
        "seed": 1,
        "clock": 2,
    }
    made = plan(job)
    assert made.clock_nanoseconds == 2 * 10**9
    assert made.seed == parse(job).seed
    assert {n.limits.wall_seconds for n in made.nodes} == {5.0}
    first, second = (made.node_seed(n) for n in made.nodes)
    assert first != second
    assert len(bytes.fromhex(first)) == 32
    assert plan(job).node_seed(made.nodes[0]) == first


def test_plan_reads_each_object_once() -> None:
    devices = [
        {"name": "image", "path": "swift://~/c/i"},
        {"name": "input", "path": "swift://~/c/d"},
    ]
    made = plan([group(devices=devices, count=3)])
    program = ObjectPath(ACCOUNT, "bin", "wc.wasm")
    assert list(made.reads()) == [program, path("c", "d"), path("c", "i")]


def test_images_can_be_checked_before_anything_is_listed() -> None:
    job = parse([group(devices=[WILD, {"name": "nope"}])])
    with pytest.raises(JobError, match="device nope is not known"):
        check_images(job, PlanContext(ACCOUNT, system_images=IMAGES))


def test_plan_of_a_thousand_matches_is_made_once_per_match() -> None:
    job = parse([group(devices=[WILD])])
    names = [path("logs", f"{i:04}.txt") for i in range(1000)]
    matches = find(job, names)
    assert isinstance(matches[job.patterns[0]][0], Match)
    made = build_plan(job, matches, context=PlanContext(ACCOUNT))
    assert [n.attach for n in made.nodes] == names
