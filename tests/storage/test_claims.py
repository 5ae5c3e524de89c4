"""A claim has one holder among all processes, and ends with it."""

import contextlib
import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from storage.claims import ClaimLostError, FileClaims
from storage.postgres_claims import PostgresClaims
from storage.study_storage import PATIENCE, StorageError, open_claims, open_storage
from tests.storage.postgres import Server
from tests.storage.toy import processes

CLAIM_SESSIONS = "SELECT pg_terminate_backend(l.pid) FROM pg_locks l WHERE l.locktype = 'advisory'"


def hold_for_ever(url: str, told: Any) -> None:
    claims = open_claims(url)
    claims.wait_for("a")
    told.send(True)
    time.sleep(60)
    claims.close()


def share_for_ever(url: str, told: Any) -> None:
    claims = open_claims(url)
    told.send(claims.try_share("a"))
    time.sleep(60)
    claims.close()


def hold_with_a_forked_child(url: str, told: Any) -> None:
    claims = open_claims(url)
    claims.wait_for("a")
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    told.send(child.pid)
    time.sleep(60)


def hold_and_wait_for_another(url: str, told: Any) -> None:
    with open_claims(url) as claims:
        claims.wait_for("b")
        told.send(True)
        claims.wait_for("a")


def count_up(url: str, file: Path) -> None:
    claims = open_claims(url)
    for _ in range(50):
        claims.wait_for("counter")
        number = int(file.read_text())
        time.sleep(0.0005)
        file.write_text(str(number + 1))
        claims.release("counter")


def start_holder(target: Callable[[str, Any], None], url: str) -> tuple[Any, Any]:
    here, there = processes.Pipe()
    process = processes.Process(target=target, args=(url, there), daemon=False)
    process.start()
    assert here.poll(120)
    return process, here.recv()


def wait_until(condition: Callable[[], bool], seconds: float = 180.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_has_one_holder_and_ends_with_kill_9(url: str) -> None:
    claims = open_claims(url)
    process, _ = start_holder(hold_for_ever, url)
    assert not claims.try_claim("a")
    assert claims.try_claim("b")
    process.kill()
    process.join()
    assert wait_until(lambda: claims.try_claim("a"))
    claims.check_held("a")


def test_is_shared_by_processes_or_held_by_one(url: str) -> None:
    claims = open_claims(url)
    assert claims.try_share("a")
    assert claims.try_share("a"), "a second time"
    process, shared = start_holder(share_for_ever, url)
    assert shared
    claims.close()
    assert not claims.try_claim("a")
    process.kill()
    process.join()
    assert wait_until(lambda: claims.try_claim("a"))
    process, shared = start_holder(share_for_ever, url)
    assert not shared
    process.kill()
    process.join()


def test_ends_with_kill_9_though_a_forked_child_lives_on(url: str) -> None:
    claims = open_claims(url)
    process, child = start_holder(hold_with_a_forked_child, url)
    assert not claims.try_claim("a")
    process.kill()
    process.join()
    assert wait_until(lambda: claims.try_claim("a"))
    os.kill(child, 9)  # lived until now, or this raises


def test_excludes_four_processes_from_each_other(url: str, tmp_path: Path) -> None:
    file = tmp_path / "counter"
    file.write_text("0")
    counting = [processes.Process(target=count_up, args=(url, file)) for _ in range(4)]
    for process in counting:
        process.start()
    for process in counting:
        process.join()
    assert file.read_text() == "200"


def test_is_held_until_released(url: str) -> None:
    claims = open_claims(url)
    with pytest.raises(ClaimLostError):
        claims.check_held("a")
    assert claims.try_claim("a")
    assert claims.try_claim("a"), "a second time by its holder"
    claims.check_held("a")
    claims.release("a")
    claims.release("a")
    with pytest.raises(ClaimLostError):
        claims.check_held("a")
    process, _ = start_holder(hold_for_ever, url)
    process.kill()
    process.join()


def try_in_another_process(url: str, told: Any) -> None:
    with open_claims(url) as claims:
        told.send(claims.try_claim("a"))


def is_free_elsewhere(url: str) -> bool:
    process, free = start_holder(try_in_another_process, url)
    process.join()
    return bool(free)


def test_two_objects_of_one_process_exclude_each_other_and_neither_drops_what_the_other_holds(url: str) -> None:
    first, second = open_claims(url), open_claims(url)
    assert first.try_claim("a")
    assert not second.try_claim("a")
    second.release("a")
    second.close()
    first.check_held("a")
    assert not is_free_elsewhere(url)
    waiting = threading.Thread(target=second.wait_for, args=("a",))
    waiting.start()
    first.release("a")
    waiting.join(30)
    second.check_held("a")
    with pytest.raises(ClaimLostError):
        first.check_held("a")


def test_a_thread_waits_for_a_process_that_waits_for_another_thread(url: str) -> None:
    claims, of_thread = open_claims(url), open_claims(url)
    assert claims.try_claim("a")
    process, _ = start_holder(hold_and_wait_for_another, url)
    time.sleep(0.5)
    waiting = threading.Thread(target=of_thread.wait_for, args=("b",))
    waiting.start()
    time.sleep(0.5)
    claims.release("a")
    process.join(30)
    waiting.join(30)
    assert process.exitcode == 0
    of_thread.check_held("b")


def test_closed_or_dropped_an_object_holds_nothing(url: str) -> None:
    with open_claims(url) as claims:
        assert claims.try_claim("a")
    with pytest.raises(ClaimLostError):
        claims.check_held("a")
    assert is_free_elsewhere(url)
    claims = open_claims(url)
    assert claims.try_claim("a")
    del claims
    assert is_free_elsewhere(url)


def test_a_forked_child_holds_nothing_and_takes_nothing_from_its_parent(url: str) -> None:
    claims = open_claims(url)
    assert claims.try_claim("a")
    child = os.fork()
    if not child:
        # No assert here: the child would go on with the other tests.
        with contextlib.suppress(ClaimLostError):
            claims.check_held("a")
            os._exit(1)
        taken = claims.try_claim("a")
        claims.close()
        os._exit(2 if taken else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    claims.check_held("a")
    assert not is_free_elsewhere(url)


def test_a_symbolic_link_to_a_database_has_the_claims_of_its_target(tmp_path: Path) -> None:
    target, link = tmp_path / "folder" / "study.db", tmp_path / "link.db"
    target.parent.mkdir()
    link.symlink_to(target)
    claims = open_claims(f"sqlite:///{link}")
    assert claims.try_claim("a")
    assert not is_free_elsewhere(f"sqlite:///{target}")


def test_objects_that_are_closed_or_dropped_leave_no_session(server: Server) -> None:
    url = server.new_database()
    kept = open_claims(url)
    assert kept.try_claim("kept")
    for number in range(60):
        claims = open_claims(url)
        assert claims.try_claim(str(number))
        if number % 2:
            claims.close()
        del claims
    assert wait_until(lambda: server.sessions(url) == 1)
    kept.close()
    assert wait_until(lambda: server.sessions(url) == 0)


def test_a_claim_outlives_the_timeouts_of_a_managed_server(server: Server) -> None:
    url = server.new_database()
    for timeout in ("idle_session_timeout", "idle_in_transaction_session_timeout"):
        server.execute(f"ALTER DATABASE {make_url(url).database} SET {timeout} = '100ms'")
    claims = open_claims(url)
    assert isinstance(claims, PostgresClaims)
    bare = psycopg.connect(claims.address, autocommit=True)
    assert claims.try_claim("a")
    time.sleep(0.5)
    claims.check_held("a")
    with pytest.raises(psycopg.OperationalError):  # or the timeouts do nothing here
        bare.execute("SELECT 1")


def test_every_connection_notices_a_server_that_vanished_unless_the_address_says_otherwise(server: Server) -> None:
    for given, idle in (("", "30"), ("keepalives_idle=7", "7")):
        url = server.new_database()
        url += ("&" if "?" in url else "?") + given if given else ""
        claims = open_claims(url)
        assert isinstance(claims, PostgresClaims)
        assert claims.try_claim("a")
        assert claims._connection is not None
        storage = open_storage(url, claims)
        with storage.engine.connect() as connection:
            of_storage: Any = connection.connection.driver_connection
            for session in (claims._connection, of_storage):
                known = session.info.get_parameters()
                assert {key: known.get(key) for key in PATIENCE} == {**PATIENCE, "keepalives_idle": idle}
        storage.engine.dispose()
        claims.close()


def test_an_address_is_read_alike_by_claims_and_storage(server: Server) -> None:
    url = server.new_database()
    url += ("&" if "?" in url else "?") + "options=-c%20statement_timeout%3D7min"
    claims = open_claims(url)
    assert isinstance(claims, PostgresClaims)
    assert claims.try_claim("a")
    storage = open_storage(url, claims)
    assert claims._connection is not None
    shown = "SHOW statement_timeout"
    with storage.engine.connect() as connection:
        assert connection.exec_driver_sql(shown).scalar() == "7min"
    assert claims._connection.execute(shown).fetchone() == ("7min",)
    storage.engine.dispose()
    claims.close()


def test_what_was_told_is_on_the_disk(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    with open_claims(url) as claims:
        storage = open_storage(url, claims)
        with storage.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        storage.engine.dispose()


@pytest.mark.parametrize("loss", ["restart", "terminate"])
def test_a_lost_session_is_noticed_and_every_claim_is_lost_with_it(server: Server, loss: str) -> None:
    claims = open_claims(server.new_database())
    assert isinstance(claims, PostgresClaims)
    assert claims.try_claim("a")
    assert claims.try_claim("b")
    server.restart() if loss == "restart" else server.execute(CLAIM_SESSIONS)
    with pytest.raises(ClaimLostError):
        claims.check_held("a")
    with pytest.raises(ClaimLostError):
        claims.check_held("b")
    assert claims.try_claim("a"), "the connection is made anew"
    claims.check_held("a")
    with pytest.raises(ClaimLostError):
        claims.check_held("b")


def test_a_shared_claim_that_was_lost_is_had_again_before_any_other(server: Server) -> None:
    url = server.new_database()
    claims, other = open_claims(url), open_claims(url)
    assert claims.try_share("a")
    server.execute(CLAIM_SESSIONS)
    with pytest.raises(ClaimLostError):
        claims.try_claim("b")
    assert wait_until(lambda: other.try_claim("a"))
    with pytest.raises(ClaimLostError):
        claims.try_claim("b")
    other.release("a")
    assert claims.try_claim("b")
    assert not other.try_claim("a")


def test_release_survives_a_lost_session(server: Server) -> None:
    claims = open_claims(server.new_database())
    assert claims.try_claim("a")
    server.execute(CLAIM_SESSIONS)
    claims.release("a")
    assert claims.try_claim("a")


def test_a_storage_without_safe_claims_is_refused_in_one_line(tmp_path: Path) -> None:
    addresses = (
        "sqlite://",
        "sqlite:///:memory:",
        f"sqlite:///file:{tmp_path}/study.db?uri=true",
        "mysql+pymysql://user:secret@host/studies",
        "postgresql+psycopg2://user:secret@host/studies",
        f"journal://{tmp_path}/file",
        "redis://user:secret@host",
        "user:secret@host",
    )
    for address in addresses:
        with pytest.raises(StorageError) as refused:
            open_claims(address)
        assert "\n" not in str(refused.value)
        assert "secret" not in str(refused.value)
        assert "sqlite:///FILE or postgresql+psycopg://" in str(refused.value)


def test_an_unreachable_database_is_one_line_without_the_password() -> None:
    url = "postgresql+psycopg://user:secret@127.0.0.1:1/studies"
    with pytest.raises(StorageError) as refused:
        open_storage(url, open_claims(url))
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "127.0.0.1" in str(refused.value)


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    file.write_text("not a database, but long enough to be taken for one" * 100)
    with pytest.raises(StorageError, match="cannot be opened") as refused:
        open_storage(f"sqlite:///{file}", open_claims(f"sqlite:///{file}"))
    assert "\n" not in str(refused.value)


def test_a_missing_driver_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "storage.postgres_claims", None)
    with pytest.raises(StorageError, match=r"pip install 'psycopg\[binary\]'"):
        open_claims("postgresql://host/studies")


def test_both_postgresql_addresses_and_sqlite_are_served(tmp_path: Path) -> None:
    assert isinstance(open_claims("postgresql://host/studies"), PostgresClaims)
    assert isinstance(open_claims("postgresql+psycopg://host/studies"), PostgresClaims)
    assert isinstance(open_claims(f"sqlite:///{tmp_path}/study.db"), FileClaims)


def test_a_lock_file_that_somebody_removed_is_noticed(tmp_path: Path) -> None:
    with FileClaims(tmp_path / "claims") as claims:
        assert claims.try_claim("one")
        claims.check_held("one")
        shutil.rmtree(tmp_path / "claims")
        with pytest.raises(ClaimLostError):
            claims.check_held("one")
        assert claims.try_claim("one"), "as anybody may"
        claims.check_held("one")
