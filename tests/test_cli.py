"""The commands as a new user meets them: what they print, one line for a mistake, exit codes, no traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, child_environ, patience
from tiny_model import write_tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_tiny(tmp_path_factory.mktemp("cli") / "tiny.gguf"))


def run(*arguments, module="wgpu_infer.generate", stdin=b"", env=None, **options):
    command = [sys.executable, "-m", module, *map(str, arguments)]
    environment = child_environ(**(env or {}))
    return subprocess.run(command, input=stdin, capture_output=True, cwd=ROOT, env=environment, timeout=120, **options)


def generate(model, *arguments, **options):
    return run(*arguments, "--model", model, "--device", "reference", **options)


def assert_mistake(done, *named):
    error = done.stderr.decode()
    assert done.returncode == 2, error
    assert "Traceback" not in error
    assert all(name in error for name in named), error
    return error


def test_it_prints_prompt_and_text(model):
    done = generate(model, "abc", "--max-tokens", 5, "--seed", 1, "--ignore-eos")
    assert done.returncode == 0 and done.stdout.decode().startswith("abc")
    assert done.stderr == b""


def test_json_is_one_object(model):
    done = generate(model, "abc", "--max-tokens", 5, "--seed", 1, "--ignore-eos", "--json")
    found = json.loads(done.stdout)
    assert set(found) == {"text", "token_ids", "finish_reason", "seed", "timings", "device"}
    assert len(found["token_ids"]) == 5 and found["seed"] == 1 and found["device"] == "reference"


def test_standard_input_and_verbose(model):
    done = generate(model, "-", "--max-tokens", 3, "--verbose", stdin=b"abc")
    assert done.stdout.decode().startswith("abc")
    assert all(word in done.stderr.decode() for word in ("device:", "memory: weights", "seed:", "tok/s"))


@pytest.mark.parametrize(
    "text, prompt", [(b"abc\n", "abc"), (b"abc\r\n", "abc"), (b"abc\n\n", "abc\n"), (b"\nabc", "\nabc")]
)
def test_the_last_newline_of_standard_input_is_not_part_of_the_prompt(model, text, prompt):
    piped = json.loads(
        generate(model, "-", "--max-tokens", 4, "--seed", 1, "--ignore-eos", "--json", stdin=text).stdout
    )
    given = json.loads(generate(model, prompt, "--max-tokens", 4, "--seed", 1, "--ignore-eos", "--json").stdout)
    assert piped["token_ids"] == given["token_ids"]
    assert piped["timings"]["prompt_tokens"] == given["timings"]["prompt_tokens"]


@pytest.mark.parametrize(
    "options, named",
    [
        (["--max-tokens", "-1"], ["max_tokens", "-1"]),
        (["--temperature", "-3"], ["temperature"]),
        (["--top-p", "0"], ["top_p"]),
        (["--context", "0"], ["context"]),
        (["--seed", "-1"], ["seed"]),
        (["--stop", ""], ["stop"]),
        (["--logit-bias", "x"], ["--logit-bias"]),
        (["--device", "tpu"], ["tpu", "webgpu"]),
        (["--kv", "f64"], ["f64", "q8_0"]),
        (["--run-ahead", "99"], ["run_ahead", "99", "32"]),
        (["--nonsense"], ["--nonsense"]),
    ],
)
def test_mistakes_in_options(model, options, named):
    assert_mistake(run("abc", "--model", model, *options), *named)


def test_mistakes_in_the_model(tmp_path, model):
    def fails(path, *named):
        error = assert_mistake(run("abc", "--model", path, "--device", "reference"), *named)
        assert len(error.strip().splitlines()) == 1, error

    fails(tmp_path / "nothing.gguf", "nothing.gguf", "give the path of a GGUF file")
    fails("", "give the path of a GGUF file")
    fails(tmp_path, str(tmp_path), "folder", "give the path of a GGUF file")
    (tmp_path / "text.gguf").write_text("Once upon a time there was a text file.\n")
    fails(tmp_path / "text.gguf", "text.gguf", "GGUF")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 123\n"
    (tmp_path / "pointer.gguf").write_text(pointer)
    fails(tmp_path / "pointer.gguf", "LFS")
    (tmp_path / "empty.gguf").touch()
    fails(tmp_path / "empty.gguf", "empty")


def test_a_prompt_longer_than_the_context(model):
    error = assert_mistake(generate(model, "abc " * 40, "--context", 16), "context", "16")
    assert len(error.strip().splitlines()) == 1


@pytest.mark.webgpu
def test_webgpu_without_an_adapter(model):
    env = {"VK_ICD_FILENAMES": "/nonexistent", "VK_DRIVER_FILES": "/nonexistent"}
    error = assert_mistake(run("abc", "--model", model, "--device", "webgpu", env=env), "--device cpu")
    assert len(error.strip().splitlines()) == 1
    done = run("abc", "--model", model, "--max-tokens", 2, "--json", env=env)
    assert json.loads(done.stdout)["device"].startswith("cpu")
    done = run("abc", "--model", model, "--max-tokens", 2, "--verbose", env=env)
    assert "not used: webgpu: no WebGPU adapter" in done.stderr.decode()


def test_binary_input(model):
    assert_mistake(generate(model, "-", stdin=b"\xff\xfe\x00bad"), "UTF-8")


def test_a_closed_pipe_is_no_error(model):
    command = f"{sys.executable} -m wgpu_infer.generate abc --model {model} --device reference --ignore-eos | head -c 2"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, cwd=ROOT, env=child_environ(), timeout=120
    )
    assert b"Traceback" not in done.stderr and done.stdout == b"ab"
    assert done.returncode == 0


def start(command, env):
    """A process that Ctrl-C reaches, even where the tests run in the background of a shell, which then ignores it."""
    pipe, heard = subprocess.PIPE, signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, cwd=ROOT, env=env)
    finally:
        signal.signal(signal.SIGINT, heard)


def test_ctrl_c_ends_with_130(model):
    command = [sys.executable, "-m", "wgpu_infer.generate", "abc", "--model", model, "--device", "reference"]
    command += ["--context", "4000", "--ignore-eos"]
    process = start(command, child_environ())
    assert process.stdout.read(4)  # it is generating
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _out, error = process.communicate(timeout=120)
    assert process.returncode == 130 and b"Traceback" not in error


def test_ctrl_c_twice_and_while_kernels_compile(model, tmp_path):
    command = [sys.executable, "-m", "wgpu_infer.generate", "abc", "--model", model, "--device", "cpu", "--ignore-eos"]
    env = child_environ(NUMBA_CACHE_DIR=str(tmp_path))  # empty: every kernel is compiled
    process = start(command, env)
    while process.poll() is None and not any(tmp_path.rglob("*.kernel")):
        time.sleep(0.01)  # until the first is done: the next one is being compiled
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _out, error = process.communicate(timeout=120)
    assert process.returncode in (130, -signal.SIGINT) and b"Traceback" not in error
    assert time.monotonic() - started < 5 * patience()


@pytest.mark.skipif(sys.platform == "win32", reason="the shell closes the streams")
@pytest.mark.parametrize(
    "closed, code",
    [(">&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0), ("--json >&-", 0), ("> /dev/full", 2), ("--nonsense >&- 2>&-", 2)],
)
def test_closed_streams_are_no_traceback(model, closed, code):
    command = f"{sys.executable} -m wgpu_infer.generate abc --model {model} --device reference --max-tokens 2 {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, cwd=ROOT, env=child_environ(), timeout=120)
    assert (done.returncode, b"Traceback" in done.stderr) == (code, False), done.stderr
    inspect = f"{sys.executable} -m wgpu_infer inspect {model} >&-"
    assert (
        subprocess.run(["sh", "-c", inspect], capture_output=True, cwd=ROOT, env=child_environ(), timeout=120).stderr
        == b""
    )


def read_terminal(file: int) -> bytes:
    try:
        return os.read(file, 1 << 16)
    except OSError:  # the other side has closed
        return b""


SHOWN = {"cpu": ("compiling kernels: 100%",), "webgpu": ("compiling kernels:", "measuring kernels:")}


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("device", ["cpu", pytest.param("webgpu", marks=pytest.mark.webgpu)])
def test_a_terminal_sees_a_progress_bar_and_then_the_text(model, tmp_path, device, open_once):
    import fcntl
    import pty
    import struct
    import termios

    open_once(device)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [sys.executable, "-m", "wgpu_infer.generate", "abc", "--model", model, "--device", device]
    command += ["--max-tokens", "2", "--ignore-eos"]
    environ = child_environ(  # empty: kernels are compiled, and measured
        NUMBA_CACHE_DIR=str(tmp_path), WGPU_INFER_CACHE=str(tmp_path / "kept"), WGPU_INFER_TUNE="1"
    )
    done = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT, env=environ)
    os.close(theirs)
    seen = b"".join(iter(lambda: read_terminal(ours), b"")).decode()  # as it comes: a terminal holds little
    os.close(ours)
    done.wait(timeout=120)
    bar, _, text = seen.rpartition("\r" + " " * 20)
    assert done.returncode == 0 and "loading" in bar
    assert all(what in bar for what in SHOWN[device])
    assert text.strip().startswith("abc") and "%" not in text


def test_no_bar_without_a_terminal_nor_behind_the_first_token(monkeypatch, capsys):
    from wgpu_infer.terminal import LoadingBar

    with LoadingBar() as bar:
        bar.compiling(1, 2)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert capsys.readouterr().err == ""
    with LoadingBar() as bar:
        bar.compiling(2, 2)
        bar.compiling(1, 3)  # of another program
        assert bar.bar.total == 3 and bar.bar.n == 1
        bar.tuning(1, 4)
        bar.finish()
        capsys.readouterr()
        bar.compiling(1, 2)
    assert capsys.readouterr().err == ""


def test_an_encoding_that_lacks_characters(model):
    done = generate(model, "né漢", "--max-tokens", 1, env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and done.stdout.startswith(b"n??")


def test_a_file_cannot_command_the_terminal(tmp_path):
    evil = {"general.name": "evil\x1b]0;title\x07\r\nfake: line", "x.list": ["\x1b[31m", "b"], "x.\x1b[2Jkey": "v"}
    path = write_tiny(tmp_path / "evil.gguf", evil, {"a\x1b[31m.weight": np.zeros(3, np.float32)})
    done = run("inspect", path, module="wgpu_infer")
    assert b"\\x1b]0;title\\x07 fake: line" in done.stdout and b"\\x1b[31m.weight" in done.stdout
    assert b"\x1b" not in done.stdout + done.stderr and b"\r" not in done.stdout
    error = assert_mistake(run("abc", "--model", tmp_path / "no\x1b[31m\nsuch.gguf"), "\\x1b[31m")
    assert "\x1b" not in error and len(error.strip().splitlines()) == 1


def test_inspect(model):
    done = run("inspect", model, module="wgpu_infer")
    assert done.returncode == 0
    assert all(
        word in done.stdout.decode() for word in ("llama.embedding_length", "blk.1.ffn_down.weight", "runs: yes")
    )
    found = json.loads(run("inspect", model, "--json", module="wgpu_infer").stdout)
    assert found["tensors"][0]["shape"] == [24, 32]
    assert_mistake(run("inspect", "nothing.gguf", module="wgpu_infer"), "nothing.gguf")


def test_tokenize(model):
    done = run("tokenize", "abc", "--model", model, "--ids", "--no-bos", module="wgpu_infer")
    ids = json.loads(done.stdout)
    back = run("tokenize", json.dumps(ids), "--model", model, "--decode", module="wgpu_infer")
    assert back.stdout.decode().strip() == "abc"
    assert_mistake(run("tokenize", "1 x", "--model", model, "--decode", module="wgpu_infer"), "--decode")
    assert_mistake(run("tokenize", "9999", "--model", model, "--decode", module="wgpu_infer"), "9999")


def test_verify(model):
    done = run("verify", "--model", model, "--device", "cpu", "--steps", 2, module="wgpu_infer")
    assert done.returncode == 0 and b"all agree" in done.stdout


def test_doctor(tmp_path):
    done = run("doctor", module="wgpu_infer")
    assert done.returncode == 0
    assert all(word in done.stdout.decode() for word in ("CPU: cpu", "WebGPU:", "--device auto:"))
    found = json.loads(run("doctor", "--json", module="wgpu_infer").stdout)
    assert found["cpu"]["works"]
    for number, adapter in enumerate(found["adapters"]):
        assert adapter["number"] == number and adapter["kind"] in ("discrete", "integrated", "other", "software")
        assert adapter["limits"] and adapter["features"]
    if found["webgpu"]["works"]:
        assert found["webgpu"]["capabilities"]["max_binding"] > 0 and found["webgpu"]["tuned"] >= 0
    assert [adapter["chosen"] for adapter in found["adapters"]].count(True) <= 1
    bare = run("doctor", module="wgpu_infer", env={"WGPU_INFER_NO_PACKED_DOT": "1", "WGPU_INFER_EAGER": "1"}).stdout
    if found["webgpu"]["works"]:
        assert b"without packed_dot: activations stay float32" in bare and b"public API" in bare
    without = run("doctor", module="wgpu_infer", env={"VK_ICD_FILENAMES": "/none", "VK_DRIVER_FILES": "/none"})
    assert "no WebGPU adapter" in without.stdout.decode()


def test_doctor_tells_settings_that_are_wrong():
    """They are findings: whoever asks the doctor may ask because of them."""
    done = run("doctor", module="wgpu_infer", env={"WGPU_INFER_CPU": "sse9", "WGPU_INFER_TUNE": "soon"})
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    assert "CPU: not used" in text and "WGPU_INFER_CPU='sse9' is not known" in text
    assert "WGPU_INFER_TUNE='soon' must be seconds" in text or "no WebGPU adapter" in text


@pytest.mark.parametrize(
    "blocked, says",
    [("wgpu", "auto: cpu, since webgpu"), ("numba", "auto: webgpu|auto: reference"), ("wgpu,numba", "auto: reference")],
)
def test_doctor_without_a_package(blocked, says):
    code = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked.split(",")}: raise ImportError(f"no {{name}} here")
sys.meta_path.insert(0, Blocked())
from wgpu_infer.doctor import examine, render
print(render(examine()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=child_environ(), timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert any(f"--device {one}" in done.stdout for one in says.split("|")) and "here" in done.stdout


@pytest.mark.webgpu
def test_tune_says_what_it_chose(model, open_once, tmp_path):
    open_once("webgpu")
    env = {"WGPU_INFER_CACHE": str(tmp_path)}
    done = run("tune", "--model", str(model), "--seconds", "5", module="wgpu_infer", env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().startswith("webgpu: ") and f"kept in {tmp_path}" in done.stdout.decode()
