"""The breaker of a silent meter."""

from edge.supervise import FIRST_WAIT, LONGEST_WAIT, THRESHOLD, Breaker, BreakerState, jitter


def opened(name: str = "M-1") -> Breaker:
    breaker = Breaker(name=name)
    for _ in range(THRESHOLD):
        breaker = breaker.failed(100.0)
    return breaker


def test_it_opens_after_repeated_failure_and_not_before() -> None:
    breaker = Breaker(name="M-1")
    states = []
    for _ in range(THRESHOLD):
        breaker = breaker.failed(100.0)
        states.append(breaker.state)
    assert states == [BreakerState.CLOSED, BreakerState.CLOSED, BreakerState.OPEN]


def test_a_success_between_failures_starts_the_count_anew() -> None:
    breaker = Breaker(name="M-1").failed(0.0).failed(0.0).succeeded().failed(0.0)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.failures == 1


def test_an_open_one_lets_a_single_trial_through_when_its_wait_is_over() -> None:
    breaker = opened()
    assert breaker.asked(100.0).state is BreakerState.OPEN
    assert breaker.wait(100.0) > 0
    trial = breaker.asked(breaker.retry_at)
    assert trial.state is BreakerState.HALF_OPEN
    assert trial.succeeded() == Breaker(name="M-1")
    again = trial.failed(200.0)
    assert again.state is BreakerState.OPEN
    assert again.wait(200.0) > breaker.wait(100.0)


def test_waits_grow_to_a_bound_and_differ_between_meters() -> None:
    breaker = opened()
    for _ in range(40):
        breaker = breaker.asked(breaker.retry_at).failed(breaker.retry_at)
        assert breaker.wait(breaker.retry_at - 1e9) > 0
    assert breaker.retry_at > 0
    waits = {round(opened(f"M-{n}").wait(100.0), 3) for n in range(50)}
    assert len(waits) > 40
    assert min(waits) >= FIRST_WAIT * 0.75
    last = breaker.failed(0.0).wait(0.0)
    assert LONGEST_WAIT * 0.75 <= last <= LONGEST_WAIT * 1.25


def test_jitter_is_even_and_repeatable() -> None:
    values = [jitter(f"M-{n:06}") for n in range(1000)]
    assert values == [jitter(f"M-{n:06}") for n in range(1000)]
    assert 0.45 < sum(values) / 1000 < 0.55
    assert all(0 <= value < 1 for value in values)
