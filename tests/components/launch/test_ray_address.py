"""A Ray that does not answer is named before Ray retries for minutes."""

import socket

import pytest

from components.launch.local import check_answer
from xstilts.errors import InfrastructureError


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("prefix", ["", "ray://"])
def test_an_address_without_a_server_is_refused(prefix: str) -> None:
    address = f"{prefix}127.0.0.1:{free_port()}"
    with pytest.raises(InfrastructureError, match=rf"no Ray answers at {address} .*refused.*start"):
        check_answer(address, seconds=0)


def test_an_unknown_host_is_refused() -> None:
    with pytest.raises(InfrastructureError, match=r"no Ray answers at host\.invalid:6379"):
        check_answer("host.invalid:6379", seconds=0)


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_an_address_with_a_server_is_accepted(address: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        check_answer(address.format(listener.getsockname()[1]), seconds=0)


@pytest.mark.parametrize("address", ["local", "auto", "http://host", ""])
def test_what_is_not_an_address_is_left_to_ray(address: str) -> None:
    check_answer(address, seconds=0)
