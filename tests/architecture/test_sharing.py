"""Where several processes share the suite, a file stays whole, and installations stay apart."""

from tests.sharing import FilesTogether, Places, turn_of

STORY, KILLS = "tests/acceptance/test_story.py", "tests/chaos/test_kafka_kills.py"
PAGE, RULE = "tests/acceptance/test_page_why.py", "tests/unit/billing/test_money.py"


def test_tests_of_a_file_and_whole_installations_are_given_to_one_process() -> None:
    scope_of = FilesTogether.__dict__["_split_scope"]
    assert scope_of(None, f"{PAGE}::test_one[a::b]") == scope_of(None, f"{PAGE}::test_two") == PAGE
    assert scope_of(None, f"{STORY}::test_one") == scope_of(None, f"{KILLS}::test_two[worker]")
    assert sorted([RULE, PAGE, STORY], key=turn_of) == [STORY, PAGE, RULE]


def test_a_group_in_two_processes_is_noticed() -> None:
    places = Places()
    for file, process in ((PAGE, "gw0"), (RULE, "gw1"), (PAGE, "gw0"), (STORY, "gw1")):
        places.saw(file, process)
    assert places.torn == []
    places.saw(KILLS, "gw0")
    places.saw(PAGE, "gw1")
    assert places.torn == [PAGE, "whole stacks"]
