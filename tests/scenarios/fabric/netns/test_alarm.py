from __future__ import annotations

import select

from scenarios.fabric.netns.alarm import Alarm


def test_an_alarm_goes_off_once_each_time_it_is_set() -> None:
    alarm, epoll = Alarm(), select.epoll()
    epoll.register(alarm, select.EPOLLIN | select.EPOLLET)
    try:
        assert epoll.poll(0) == []
        for seconds in (0.0, -1.0, 0.001):
            alarm.set(seconds)
            assert epoll.poll(10) == [(alarm.fileno(), select.EPOLLIN)]
            assert epoll.poll(0) == []
        alarm.set(3600.5)
        assert epoll.poll(0) == []
    finally:
        epoll.close()
        alarm.close()
