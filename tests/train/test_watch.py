import os
import signal
import threading

import pytest

from vlfusion_jax.train.watch import StopWatch


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_to_stop_and_handlers_come_back(number):
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    with StopWatch() as watch:
        assert not watch.should_stop(1)
        send(number)
        assert watch.should_stop(2)
        assert watch.should_stop(3)
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before


def test_the_second_interrupt_is_at_once():
    with StopWatch() as watch:
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        assert watch.should_stop(1)


def test_another_thread_watches_nothing():
    seen = []

    def watch():
        with StopWatch() as watch:
            seen.append(watch.should_stop(1))

    thread = threading.Thread(target=watch)
    thread.start()
    thread.join()
    assert seen == [False]
