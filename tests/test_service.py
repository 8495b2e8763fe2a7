"""The installed service: its unit, what it may do, the script that installs it, and the page about it."""

from __future__ import annotations

import ast
import ctypes.util
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edge.config.loader import load_site
from edge.core.sight import BLACK, COVERED, FROZEN, MOVED
from edge.resources import configs_dir
from tests.conftest import missing, need_program

REPOSITORY = Path(__file__).resolve().parent.parent
SCRIPT = REPOSITORY / "scripts" / "install-service"
UNIT = configs_dir() / "systemd" / "city-eye-edge.service"
PAGE = (REPOSITORY / "docs" / "service.md").read_text(encoding="utf-8")
EXPOSURE_MAX = 2.0


def setting(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)


def ran(
    *command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None, timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    line = [str(part) for part in command]
    done = subprocess.run(line, cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout_s, check=False)
    print(done.stdout[-3000:], done.stderr[-3000:])
    return done


# The unit


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    analyze = need_program("systemd-analyze")
    unit = tmp_path / UNIT.name
    # The program is not installed here; another one stands in its place, and all else is as it is.
    unit.write_text(UNIT.read_text(encoding="utf-8").replace("/opt/city-eye-edge/venv/bin/edge", sys.executable))
    drop_in = tmp_path / f"{UNIT.name}.d"
    drop_in.mkdir()
    shutil.copy(UNIT.parent / "accelerator.conf", drop_in)
    done = ran(analyze, "verify", "--man=no", unit)
    told = [line for line in (done.stdout + done.stderr).splitlines() if UNIT.stem in line or "accelerator" in line]
    assert told == []


def test_the_exposure_is_what_the_page_says() -> None:
    analyze = need_program("systemd-analyze")
    done = ran(analyze, "security", "--offline=true", f"--threshold={EXPOSURE_MAX * 10:.0f}", UNIT)
    assert done.returncode == 0, f"more exposed than {EXPOSURE_MAX}"
    found = re.search(r"Overall exposure level.*?: ([0-9.]+)", done.stdout)
    assert found
    said = re.search(r"exposure level ([0-9.]+) .*with systemd ([0-9]+)", PAGE)
    assert said
    version = ran(analyze, "--version").stdout.split()[1]
    print(f"exposure level {found[1]}, systemd {version}; the page says {said[1]} with {said[2]}")
    if version == said[2]:  # others weigh differently
        assert found[1] == said[1]


def test_it_is_never_given_up_and_has_time_to_end_in_order() -> None:
    assert setting("Restart") == ["always"]
    assert setting("StartLimitIntervalSec") == ["0"]
    assert setting("Type") == ["notify"]
    assert setting("NotifyAccess") == ["main"]
    assert setting("OOMPolicy") == ["continue"]
    assert int(setting("TimeoutStopSec")[0]) > 10
    assert int(setting("WatchdogSec")[0]) == 30
    assert "WatchdogSec=30" in PAGE


# What the program needs, under what the unit allows. seccomp by hand, as systemd does it: systemd need not run.

CONFINE = r"""
import ctypes, json, os, sys
names, denied, arguments = json.loads(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]
libc = ctypes.CDLL(None, use_errno=True)
seccomp = ctypes.CDLL("libseccomp.so.2")
seccomp.seccomp_init.restype = ctypes.c_void_p
ALLOW, EPERM = 0x7FFF0000, 0x00050001
class Argument(ctypes.Structure):
    _fields_ = [("number", ctypes.c_uint), ("compare", ctypes.c_int)]
    _fields_ += [("mask", ctypes.c_uint64), ("bits", ctypes.c_uint64)]
def number(name): return seccomp.seccomp_syscall_resolve_name(name.encode())
if libc.prctl(65, 1, 0, 0, 0):  # PR_SET_MDWE, as systemd 253 and later do it; Linux 6.3
    print("no PR_SET_MDWE", file=sys.stderr)
libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
memory = ctypes.c_void_p(seccomp.seccomp_init(ALLOW))  # as systemd 252 does it
for name, argument, bits in (("mmap", 2, 6), ("mprotect", 2, 4), ("pkey_mprotect", 2, 4), ("shmat", 2, 0o100000)):
    rule = Argument(argument, 7, bits, bits)
    assert seccomp.seccomp_rule_add_array(memory, EPERM, number(name), 1, ctypes.byref(rule)) == 0
assert seccomp.seccomp_load(memory) == 0
calls = ctypes.c_void_p(seccomp.seccomp_init(EPERM))
for name in names:
    if name not in denied and number(name) >= 0:
        assert seccomp.seccomp_rule_add(calls, ALLOW, number(name), 0) == 0
assert seccomp.seccomp_load(calls) == 0
os.execv(arguments[0], arguments)
"""
FORBIDDEN = """
import mmap, os
for attempt in (lambda: mmap.mmap(-1, 4096, prot=7), lambda: os.chroot("/"), lambda: os.chown("/tmp", 0, 0)):
    try:
        attempt()
    except OSError:
        print("refused")
"""
PROCESSES = """
import multiprocessing, os, socket
def work(answer):
    import av, cv2, numpy
    answer.put(socket.getaddrinfo("localhost", 80)[0][4][1])
if __name__ == "__main__":
    for name in ("forkserver", "spawn"):
        context = multiprocessing.get_context(name)
        answer = context.Queue()
        process = context.Process(target=work, args=(answer,))
        process.start()
        assert answer.get(timeout=60) == 80
        process.join()
    fd = os.memfd_create("slots")
    os.posix_fallocate(fd, 0, 1 << 20)
    print("works")
"""


def system_calls(*groups: str) -> set[str]:
    """The names in systemd's groups, with the groups in them."""
    found: set[str] = set()
    for group in groups:
        lines = ran(need_program("systemd-analyze"), "syscall-filter", group).stdout.splitlines()[1:]
        names = {line.strip() for line in lines if line.strip() and not line.strip().startswith("#")}
        found |= {name for name in names if not name.startswith("@")}
        inner = sorted(name for name in names if name.startswith("@"))
        found |= system_calls(*inner) if inner else set()
    return found


def confined(*command: str | Path) -> subprocess.CompletedProcess[str]:
    allowed, denied = setting("SystemCallFilter")
    assert denied.startswith("~")
    names = json.dumps(sorted(system_calls(allowed, "@default")))
    refused = json.dumps(sorted(system_calls(denied.removeprefix("~"))))
    return ran(sys.executable, "-c", CONFINE, names, refused, *command, cwd=REPOSITORY, timeout_s=280)


@pytest.fixture(scope="module")
def seccomp() -> None:
    if not ctypes.util.find_library("seccomp"):
        missing("libseccomp2 is not installed; systemd brings it")
    if os.uname().machine not in ("x86_64", "aarch64"):
        missing(f"the filter was written for x86_64 and aarch64, this is {os.uname().machine}")


@pytest.mark.usefixtures("seccomp")
def test_the_filters_of_this_test_refuse_what_the_unit_refuses() -> None:
    assert setting("MemoryDenyWriteExecute") == ["yes"]
    assert confined(sys.executable, "-c", FORBIDDEN).stdout.split() == ["refused"] * 3


@pytest.mark.usefixtures("seccomp")
def test_processes_and_shared_memory_work_under_the_units_filters(tmp_path: Path) -> None:
    program = tmp_path / "processes.py"
    program.write_text(PROCESSES)
    assert confined(sys.executable, program).stdout.split() == ["works"]


@pytest.mark.slow
@pytest.mark.usefixtures("seccomp")
def test_a_whole_replay_works_under_the_units_filters(tmp_path: Path) -> None:
    """Decoder, ONNX model, evidence, database and the annotated video: the same alerts as without."""
    demo = configs_dir() / "demo"
    command = [sys.executable, "-m", "edge", "replay", demo / "plaza.mp4", "--config", demo / "site.yaml"]
    done = confined(*command, "--out", tmp_path / "confined", "--annotate")
    assert done.returncode == 0
    assert ran(*command, "--out", tmp_path / "free", cwd=REPOSITORY, timeout_s=280).returncode == 0
    alerts = [(tmp_path / name / "alerts.jsonl").read_bytes() for name in ("confined", "free")]
    assert alerts[0] == alerts[1] != b""


# The script


def installed(root: Path, *arguments: str) -> str:
    done = ran(SCRIPT, "--root", root, *arguments)
    assert done.returncode == 0
    assert done.stdout == ""
    return done.stderr


def files_under(root: Path) -> dict[str, tuple[int, bytes]]:
    found = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): (path.stat().st_mode & 0o777, path.read_bytes()) for path in found}


def test_all_files_come_to_their_places_with_their_rights(tmp_path: Path) -> None:
    root = tmp_path / "an image"
    installed(root, "--no-program", "--accelerator")
    found = files_under(root)
    assert {name: oct(mode) for name, (mode, _) in found.items()} == {
        "etc/city-eye-edge/secrets.env": "0o600",
        "etc/city-eye-edge/site.yaml": "0o640",
        "etc/systemd/system/city-eye-edge.service": "0o644",
        "etc/systemd/system/city-eye-edge.service.d/accelerator.conf": "0o644",
        "etc/sysusers.d/city-eye-edge.conf": "0o644",
        "opt/city-eye-edge/service.md": "0o644",
    }
    assert (root / "etc/city-eye-edge").stat().st_mode & 0o777 == 0o750


def test_again_changes_nothing_and_never_the_owners_files(tmp_path: Path) -> None:
    installed(tmp_path, "--no-program")
    for name in ("site.yaml", "secrets.env"):
        (tmp_path / "etc/city-eye-edge" / name).write_text("mine\n")
    unit = tmp_path / "etc/systemd/system/city-eye-edge.service"
    unit.write_text("an older one\n")
    before = files_under(tmp_path)
    said = installed(tmp_path, "--no-program")
    assert said.count("is there, left as it is") == 2
    after = files_under(tmp_path)
    assert unit.read_bytes() == UNIT.read_bytes()
    assert {name for name in before if before[name] != after[name]} == {str(unit.relative_to(tmp_path))}
    assert "written" not in installed(tmp_path, "--no-program")


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    root = tmp_path / "image"
    said = installed(root, "--dry-run")
    assert said.count("would run: install") > 4
    assert "would install" in said
    assert not root.exists()
    installed(root, "--no-program")
    before = files_under(root)
    installed(root, "--uninstall", "--dry-run")
    assert files_under(root) == before


def test_uninstalling_keeps_configuration_secrets_and_state(tmp_path: Path) -> None:
    installed(tmp_path, "--no-program", "--accelerator")
    state = tmp_path / "var/lib/city-eye-edge/edge.db"
    state.parent.mkdir(parents=True)
    state.write_text("cases")
    said = installed(tmp_path, "--uninstall")
    assert "Kept: /etc/city-eye-edge, /var/lib/city-eye-edge" in said
    assert set(files_under(tmp_path)) == {
        "etc/city-eye-edge/secrets.env",
        "etc/city-eye-edge/site.yaml",
        "var/lib/city-eye-edge/edge.db",
    }
    installed(tmp_path, "--uninstall")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rot", "x"], "unknown argument --rot"),
        (["--root"], "--root needs a path"),
        (["--wheel", "none.whl"], "none.whl: no such wheel"),
        (["--root", "/"], "--root / is an installation"),
    ],
)
def test_a_misused_script_does_nothing(arguments: list[str], words: str) -> None:
    done = ran(SCRIPT, *arguments)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert words in done.stderr


def test_without_root_or_systemd_it_refuses_before_it_touches_anything(tmp_path: Path) -> None:
    def refused(uid: int) -> str:
        (tmp_path / "id").write_text(f"#!/bin/sh\necho {uid}\n")
        (tmp_path / "id").chmod(0o755)
        done = ran(SCRIPT, env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        return done.stderr

    assert "needs root: sudo scripts/install-service" in refused(1000)
    if not Path("/run/systemd/system").exists():  # else this would be an installation
        assert "systemd does not run here" in refused(0)


def tiny_wheel(folder: Path, version: str) -> Path:
    """A program of this name without anything that it depends on."""
    path = folder / f"cityeye_edge-{version}-py3-none-any.whl"
    about = f"cityeye_edge-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("edge/__init__.py", "")
        wheel.writestr("edge/__main__.py", f"def main():\n    print('edge {version}')\n")
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: cityeye-edge\nVersion: {version}\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/entry_points.txt", "[console_scripts]\nedge = edge.__main__:main\n")
        wheel.writestr(f"{about}/RECORD", "")
    return path


def test_the_program_is_switched_in_one_step_and_the_one_before_stays(tmp_path: Path) -> None:
    python = Path("/usr/bin/python3")
    if not python.exists() or ran(python, "-c", "import ensurepip, venv").returncode:
        missing("the system's Python has no venv; apt-get install python3-venv")
    home = tmp_path / "image" / "opt" / "city-eye-edge"
    names = []
    for version in ("1.0", "2.0", "3.0"):
        wheel = tiny_wheel(tmp_path, version)
        done = ran(SCRIPT, "--root", tmp_path / "image", "--wheel", wheel, env={**os.environ, "PIP_NO_INDEX": "1"})
        assert done.returncode == 0
        names.append(os.readlink(home / "venv"))
        assert ran(home / "venv/bin/python", "-c", "import edge", cwd=tmp_path).returncode == 0
        edge = (home / "venv/bin/edge").read_text()
        assert f"/opt/city-eye-edge/{names[-1]}/bin/python" in edge
        assert str(tmp_path) not in edge
    assert {path.name for path in home.glob("venv-*")} == set(names[1:])
    broken = tmp_path / "cityeye_edge-4.0-py3-none-any.whl"
    broken.write_text("no wheel")
    done = ran(SCRIPT, "--root", tmp_path / "image", "--wheel", broken, env={**os.environ, "PIP_NO_INDEX": "1"})
    assert done.returncode == 1
    assert "what ran before runs on" in done.stderr
    assert os.readlink(home / "venv") == names[-1]
    assert {path.name for path in home.glob("venv-*")} == set(names[1:])


def test_the_first_configuration_is_right_and_its_secrets_are_named() -> None:
    lines = (UNIT.parent / "secrets.example.env").read_text().splitlines()
    environ = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    site = load_site(UNIT.parent / "site.example.yaml", environ=environ)
    assert site.config.cameras[0].source == "rtsp://admin:change-me@192.0.2.10/stream2"


# The page


JUDGES = (
    *sorted((REPOSITORY / "edge" / "capture").glob("*.py")),
    REPOSITORY / "edge" / "runtime" / "live.py",
    REPOSITORY / "edge" / "runtime" / "health.py",
)
PASSED_ON = {"reason", "blind", "failure"}  # names of what was given a reason elsewhere


def reasons_given(tree: ast.Module) -> set[str]:
    """The short codes that a module gives: `reason=...`, `_Sight(state, ...)`, `reason: str = ...`, tables of words.

    Errors: AssertionError for one whose text cannot be read from the source.
    """
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found: set[str] = set()
    for value in [value for node in ast.walk(tree) for value in reason_values(node)]:
        for choice in (value.body, value.orelse) if isinstance(value, ast.IfExp) else (value,):
            match choice:
                case ast.Constant(value=str(text)):
                    found.add(text)
                case ast.Name(id=name) if name in constants:
                    found.add(constants[name])
                case ast.Name(id=name) | ast.Attribute(attr=name) if name in PASSED_ON:
                    pass
                case _:
                    raise AssertionError(f"line {choice.lineno}: which reason is {ast.unparse(choice)}?")
    return found - {""}


def reason_values(node: ast.AST) -> list[ast.expr]:
    """What a node gives as a reason, if it does."""
    match node:
        case (
            ast.Call(func=ast.Name(id="_Sight" | "CaptureState"), args=[_, value, *_])
            | ast.keyword(arg="reason", value=value)
            | ast.AnnAssign(target=ast.Name(id="reason"), value=ast.expr() as value)
            | ast.Assign(targets=[ast.Name(id="reason")], value=ast.Constant() as value)
        ):
            return [value]
        case (
            ast.Assign(targets=[ast.Name(id=name)], value=ast.Dict(keys=keys))
            | ast.AnnAssign(target=ast.Name(id=name), value=ast.Dict(keys=keys))
        ) if name.endswith("WORDS"):
            return [key for key in keys if key]
    return []


def blind_reasons() -> set[str]:
    """The short codes of all modules that judge cameras."""
    found = {BLACK, COVERED, FROZEN, MOVED}
    for path in JUDGES:
        found |= reasons_given(ast.parse(path.read_text(encoding="utf-8")))
    return found


def test_every_reason_of_a_blind_camera_has_its_heading() -> None:
    headings = set(re.findall(r"^### (.+)$", PAGE, re.MULTILINE))
    reasons = blind_reasons()
    print(sorted(reasons))
    assert reasons >= {"starting", "no-frames", "wrong-password", "no-data", "broke-off", "ended", "not-analysed"}
    assert reasons - headings == set()


def test_a_reason_is_found_however_the_source_gives_it() -> None:
    source = """
_FIRST = "one"
class Report:
    reason: str = _FIRST
def judge(state):
    yield _Sight(BLIND, "two", "words")
    yield _Sight(BLIND, "three" if state.late else "four", "words")
    yield _Sight(BLIND, state.reason, state.words)
    raise BrokenOffError("words", reason="five")
_SOME_WORDS: Mapping[str, str] = {"six": "words"}
"""
    assert reasons_given(ast.parse(source)) == {"one", "two", "three", "four", "five", "six"}
    with pytest.raises(AssertionError, match="which reason is f'"):
        reasons_given(ast.parse("_Sight(BLIND, f'late-{number}', 'words')"))


def test_messages_on_the_page_are_those_of_the_program() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "edge").rglob("*.py"))
    headings = [heading for heading in re.findall(r"^### (.+)$", PAGE, re.MULTILINE) if " " in heading]
    assert len(headings) >= 5
    for heading in headings:
        assert heading.replace("3 s", "{limit_s:g} s") in source, heading


def test_every_path_on_the_page_is_where_the_unit_and_the_script_put_it() -> None:
    said = UNIT.read_text(encoding="utf-8") + SCRIPT.read_text(encoding="utf-8").replace("$name", "city-eye-edge")
    for path in ("/opt/city-eye-edge/venv", "/etc/city-eye-edge/site.yaml", "/etc/city-eye-edge/secrets.env"):
        assert path in PAGE
        assert path in said
    assert setting("StateDirectory") == ["city-eye-edge"]
    for name, words in (("TasksMax", "TasksMax=8192"), ("MemoryMax", "85 %"), ("LogRateLimitBurst", "2000 lines")):
        assert setting(name)[0].rstrip("%") in words
        assert words in PAGE
