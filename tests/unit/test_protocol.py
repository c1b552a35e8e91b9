"""The typed door to the agent: both ends agree, what is asked arrives as it was meant, and other shapes are refused."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shutil
import subprocess
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosts.errors import HostLost
from hosts.onhost.agent import ops, protocol, values
from hosts.onhost.agent.values import CommandChange, Decipher, ProcessChange, Result
from hosts.onhost.agent.wire import ShapeError, decode, encode
from hosts.remote.agent import Agent, AgentError
from hosts.remote.host import AGENT
from tests.support.agent_process import LocalAgent, start

SECRET = "5ec2e7" * 8
OPERATIONS: dict[str, Any] = {
    name: kind
    for name, kind in vars(protocol).items()
    if inspect.isclass(kind) and issubclass(kind, protocol.Operation) and kind is not protocol.Operation
}
TYPES = {**OPERATIONS, **{f"reply to {name}": protocol.reply_type(kind) for name, kind in OPERATIONS.items()}}
TYPES["hello"] = values.Hello
each = pytest.mark.parametrize("name", OPERATIONS)
EACH = settings().max_examples // 4
"""Examples of each type: all of them go one way through one codec."""


def method(name: str) -> str:
    """What the client calls an operation."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


# both ends agree


def test_every_operation_is_served_and_has_a_method_and_nothing_else_is_or_has() -> None:
    assert len(OPERATIONS) > 20
    assert set(ops.SERVED) == set(OPERATIONS)
    public = {name for name, _ in inspect.getmembers(Agent, inspect.isfunction) if not name.startswith("_")}
    assert public - {"hello"} == {method(name) for name in OPERATIONS}


@each
def test_the_host_gives_what_the_protocol_promises(name: str) -> None:
    kind, function = ops.SERVED[name]
    assert kind is OPERATIONS[name]
    assert function.__name__ == method(name)
    hints = get_type_hints(function)
    assert hints["asked"] is kind
    assert hints["return"] == protocol.reply_type(kind)


@each
def test_the_client_asks_for_all_that_the_protocol_has_and_gives_its_reply(name: str) -> None:
    function = getattr(Agent, method(name))
    asked = set(inspect.signature(function).parameters) - {"self"}
    named = {field.name.replace("timeout_seconds", "timeout") for field in fields(OPERATIONS[name])}
    assert asked == named
    assert get_type_hints(function)["return"] == protocol.reply_type(OPERATIONS[name])


# what is asked arrives as it was meant


@cache
def strategy(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type of the protocol."""
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return st.builds(kind, **{field.name: strategy(hints[field.name]) for field in fields(kind)})
    if origin is Union:
        return st.one_of([strategy(one) for one in inner])
    if origin is Literal:
        return st.sampled_from(inner)
    if origin is list:
        return st.lists(strategy(inner[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(st.text(max_size=5), strategy(inner[1]), max_size=3)
    simple: dict[Any, st.SearchStrategy[Any]] = {
        str: st.text(max_size=10),
        int: st.integers(),
        float: st.floats(allow_nan=False, allow_infinity=False),
        bool: st.booleans(),
        type(None): st.none(),
    }
    return simple[kind]


@pytest.mark.parametrize("name", TYPES)
@settings(max_examples=EACH)
@given(data=st.data())
def test_a_value_comes_back_as_it_was_sent(name: str, data: st.DataObject) -> None:
    value = data.draw(strategy(TYPES[name]))
    assert decode(TYPES[name], json.loads(json.dumps(encode(value)))) == value


SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("name", TYPES)
@settings(max_examples=EACH)
@given(shape=SHAPES)
def test_what_is_taken_is_of_its_type_and_all_else_is_refused(name: str, shape: Any) -> None:
    try:
        value = decode(TYPES[name], shape)
    except ShapeError:
        return
    assert json.loads(json.dumps(encode(value))) == shape


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (int, True, "it is not of the type int but bool"),
        (int, 1.0, "it is not of the type int but float"),
        (str, None, "it is not of the type str but NoneType"),
        (list[int], [1, "x"], "it[1] is not of the type int but str"),
        (protocol.reply_type(protocol.Read), {"/x": 5}, "it./x is not of the type str but int"),
        (Result, {"status": 0, "stdout": ""}, "it is no Result: missing or not known: stderr"),
        (Result, {"status": 0, "stdout": "", "stderr": "", "x": 1}, "it is no Result: missing or not known: x"),
        (Result, [], "it is not of the type Result but list"),
        (values.Connection, "used", "it is none of new, resumed, kept"),
        (values.Change, {"kind": "wish"}, "it is of no kind that is known"),
        (values.Change, 5, "it is of no kind that is known"),
    ],
)
def test_another_shape_is_told_by_its_place(kind: Any, value: Any, said: str) -> None:
    with pytest.raises(ShapeError) as caught:
        decode(kind, value)
    assert str(caught.value) == said


# the client by itself


class Played:
    """An agent that says what it was told to say; ``heard`` is what it was asked."""

    def __init__(self, *lines: str) -> None:
        self.lines, self.heard = list(lines), b""

    def write(self, data: bytes) -> None:
        self.heard += data

    def read_line(self, timeout: float) -> bytes:
        if not self.lines:
            raise HostLost(f"no answer after {timeout:g} s")
        return self.lines.pop(0).encode()


def test_a_reply_of_another_shape_is_an_error_that_names_the_operation() -> None:
    agent = Agent("sender", Played('{"id": 1, "result": {"status": "0", "stdout": "", "stderr": ""}}', '{"id": 2}'))
    with pytest.raises(AgentError) as caught:
        agent.run(["true"], 5.0)
    assert str(caught.value) == (
        "sender: the agent does not keep to the protocol: the reply to Run.status is not of the type int but str"
    )
    with pytest.raises(AgentError, match="the reply to PortTaken is not of the type bool but NoneType"):
        agent.port_taken("::1", 80)


def test_an_answer_that_comes_late_is_never_taken_for_another_one() -> None:
    played = Played()
    agent = Agent("sender", played)
    with pytest.raises(HostLost, match="no answer after 20 s"):
        agent.run(["sleep", "60"], 5.0)
    played.lines += ['{"id": 1, "result": {"status": 0, "stdout": "", "stderr": ""}}']
    with pytest.raises(HostLost, match="answered request 1 instead of 2, Run"):
        agent.run(["true"], 5.0)


@pytest.mark.parametrize("line", ["Welcome to this host!", "5", '"text"', '{"id": 1, "result": null}'])
def test_what_a_login_shell_prints_is_passed_over_and_is_no_agent(line: str) -> None:
    here = '{"fatal": "another run is using this host"}'
    with pytest.raises(AgentError, match="another run is using this host"):
        Agent("sender", Played(line, "", line, here)).hello(1.0)
    with pytest.raises(HostLost, match=r"the agent did not begin: no answer after .* standard output: ") as caught:
        Agent("sender", Played("", line)).hello(1.0)
    assert caught.value.what.endswith(line), "as that of an account that is not available"
    with pytest.raises(HostLost, match="it only said things like: "):
        Agent("sender", Played(*[line] * 2000)).hello(1.0)
    with pytest.raises(HostLost, match=f"did not speak JSON but said: {re.escape('Bye')}"):
        Agent("sender", Played("Bye")).ping()


def test_a_host_that_is_in_use_refuses() -> None:
    with pytest.raises(AgentError, match="another run is using this host"):
        Agent("sender", Played('{"fatal": "another run is using this host"}')).hello(1.0)
    with pytest.raises(AgentError, match=r"its first line is no Hello: missing or not known: .*, uid"):
        Agent("sender", Played('{"ready": {"directory": "/x", "recovered": []}}')).hello(1.0)


def test_a_refusal_is_told_with_the_last_commands_and_without_what_they_read() -> None:
    lines = ['{"id": 1, "result": {"status": 0, "stdout": "", "stderr": ""}}', '{"id": 2, "error": "no such file"}']
    agent = Agent("sender", Played(*lines))
    agent.run(["cat", "-"], 5.0, stdin=SECRET)
    with pytest.raises(AgentError) as caught:
        agent.lines([], 1.0)
    assert str(caught.value) == "sender: no such file\n  ran: cat -"


SECRETIVE = (
    protocol.Run(["x"], 1.0, SECRET, None, looks=False),
    protocol.Put("x", SECRET, 0o600, ""),
    protocol.AlgAnswer("AF_ALG", "aead", "x", SECRET, SECRET, "", "", encrypt=True),
    protocol.Digest([], Decipher("x", SECRET, SECRET)),
    protocol.Apply(CommandChange("x", [], "", None, [], [], SECRET)),
    protocol.Apply(ProcessChange("x", [], "", "", SECRET)),
)


@pytest.mark.parametrize("asked", SECRETIVE, ids=lambda asked: type(asked).__name__)
def test_no_key_is_shown(asked: Any) -> None:
    assert SECRET in json.dumps(encode(asked))
    assert SECRET not in repr(asked)


# the host by itself


@pytest.mark.parametrize("name", ["Wish", "__init__", "directory", "run", "", "Operation"])
def test_an_operation_that_there_is_not_is_refused(agent: LocalAgent, name: str) -> None:
    assert agent.raw(name, {})["error"] == f"there is no operation {name}"
    agent.client.ping()


@pytest.mark.parametrize("arguments", [{}, {"paths": 5}, {"paths": [5]}, {"paths": [], "more": 1}, [], None])
def test_arguments_of_another_shape_are_refused(agent: LocalAgent, arguments: Any) -> None:
    assert agent.raw("Read", arguments)["error"].startswith("Read")
    agent.client.ping()


def test_no_key_is_in_what_is_said_of_wrong_arguments(agent: LocalAgent) -> None:
    whole = encode(protocol.AlgAnswer("AF_ALG", "skcipher", "cbc(aes)", SECRET, SECRET, "00", "", encrypt=True))
    for wrong in ({"key_hex": [SECRET]}, {"key_hex": {SECRET: 1}}, {"iv_hex": None}, {"encrypt": SECRET}):
        said = agent.raw("AlgAnswer", {**whole, **wrong})["error"]
        assert said.startswith("AlgAnswer.")
        assert SECRET not in said


# Python 3.9, the oldest that a host may have

FILES = sorted(AGENT.glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_of_the_agent_is_python_3_9(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            given = {keyword.arg for keyword in node.keywords}
            assert not (node.func.id == "zip" and "strict" in given), f"line {node.lineno}: zip(strict=) is Python 3.10"
            assert not (node.func.id == "dataclass" and given & {"slots", "kw_only"}), f"line {node.lineno}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_type_is_built_with_a_bar_where_it_is_evaluated(path: Path) -> None:
    """Annotations are not evaluated, but for those of dataclasses, which the codec reads."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if any(isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr) for node in ast.walk(tree)):
        assert path.name not in ("protocol.py", "values.py")
    lazily = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    assert lazily or not any(isinstance(node, ast.AnnAssign | ast.arg) and node.annotation for node in ast.walk(tree))
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "isinstance":
            assert not isinstance(call.args[1], ast.BinOp), f"line {call.lineno}: isinstance(x, A | B) is Python 3.10"


def pythons() -> list[str]:
    """Those of this machine that a host could have."""
    names = [f"python3.{minor}" for minor in range(9, 16)]
    return [name for name in names if shutil.which(name) and _runs(name)]


def _runs(name: str) -> bool:
    done = subprocess.run([name, "-I", "-c", ""], capture_output=True, check=False, timeout=60)
    return done.returncode == 0


@pytest.mark.usefixtures("machine")
def test_the_agent_works_with_every_python_of_this_machine(tmp_path: Path) -> None:
    found = pythons()
    if not found:
        pytest.skip("no Python is called by its version here")
    (tmp_path / "snmp").write_text("Tcp: A RetransSegs\nTcp: 3 44\n")
    for name in found:
        with start(python=str(shutil.which(name))) as host:
            assert host.client.run(["echo", "here"], 10.0) == Result(0, "here\n", "")
            counter = values.TableCounter(str(tmp_path / "snmp"), "Tcp.RetransSegs")
            assert host.client.observe({"x": counter}).values == {"x": 44}
            assert host.raw("Apply", {"change": {"kind": "wish"}})["error"].endswith("of no kind that is known")
