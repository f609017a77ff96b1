"""The laws of declarative lenses, over random schemas, samples and operations."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from atdex_lexicons.errors import InvalidOps, NotApplicable
from atdex_lexicons.fieldops import Op, apply_get, apply_put, lossy, same
from atdex_lexicons.fieldops_check import check_ops, result_fields
from atdex_lexicons.fieldops_compose import compose
from atdex_lexicons.fieldops_read import parse
from atdex_lexicons.model import FieldOps, Schema
from tests.lexicons.lens_strategies import conforms, lenses, samples, schemas

many = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def get(ops: tuple[Op, ...], sample: Any) -> dict[str, Any] | None:
    """The view; None where the lens has none for this sample."""
    try:
        return apply_get(ops, sample)
    except NotApplicable:
        return None


def put(ops: tuple[Op, ...], view: Any, original: Any) -> dict[str, Any] | None:
    try:
        return apply_put(ops, view, original)
    except NotApplicable:
        return None


KINDS = ("rename", "drop", "add", "cast", "map", "select", "nest", "hoist")

anything = st.recursive(
    st.sampled_from([None, True, 0, 1.5, 10**400, float("nan"), "", "a", "x" * 500, b"\xff"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=6,
)
words = st.sampled_from(
    ["a", "b", "c", "int", "str", "float", "bool", "uint8", "<f4", "O", "", "é"]
)
wild_ops = st.fixed_dictionaries(
    {"op": st.sampled_from([*KINDS, "melt"])},
    optional={
        **dict.fromkeys(("from", "to", "field", "into"), words | anything),
        **dict.fromkeys(("default", "value"), anything),
        "fields": st.lists(words, max_size=3) | anything,
        "values": st.lists(st.lists(anything, min_size=2, max_size=2), max_size=3) | anything,
    },
)


@many
@given(st.lists(wild_ops, max_size=4), schemas, st.dictionaries(st.sampled_from("abc"), anything))
def test_whatever_strangers_write_is_refused_by_a_declared_error(
    ops: list[Any], source: Schema, sample: Any
) -> None:
    code = FieldOps(tuple(ops))
    problems = check_ops(code, source, source)
    assert all(isinstance(problem.reason, str) for problem in problems)
    for problem in problems:
        assert len(str(problem)) < 1000
    try:
        parsed = parse(code)
    except InvalidOps as invalid:
        assert problems[: len(invalid.problems)] == list(invalid.problems)
        return
    # Samples that the schema does not describe, and lenses that do not type-check.
    view = get(parsed, sample)
    for changed in (sample, view):
        for original in (sample, None):
            if changed is not None:
                back = put(parsed, changed, original)
                assert back is None or same(apply_get(parsed, back), changed)


class Case:
    """A lens that type-checks, two samples of its source, and a view that may be changed."""

    def __init__(self, data: st.DataObject) -> None:
        self.source: Schema = data.draw(schemas, "source")
        self.code = FieldOps(data.draw(lenses(self.source), "ops"))
        self.ops = parse(self.code)
        self.target = Schema("target", "1.0.0", result_fields(self.code, self.source))
        self.sample = data.draw(samples(self.source.fields), "sample")
        other = data.draw(samples(self.source.fields), "other")
        drawn = data.draw(samples(self.target.fields), "view")
        views = [drawn]
        first = get(self.ops, self.sample)
        for view in (first, get(self.ops, other)):
            if view is not None:
                mixed = {k: data.draw(st.sampled_from([view[k], drawn[k]])) for k in view}
                views += [view, mixed]
        self.views = views
        for kind in sorted({op["op"] for op in self.code.ops}):
            event(f"{'a' if first is not None else 'no'} view by {kind}")


@many
@given(st.data())
def test_a_view_that_is_put_back_unchanged_changes_nothing(data: st.DataObject) -> None:
    case = Case(data)
    view = get(case.ops, case.sample)
    if view is not None:
        assert same(apply_put(case.ops, view, case.sample), case.sample)


@many
@given(st.data())
def test_a_view_that_was_put_is_the_one_that_is_got(data: st.DataObject) -> None:
    case = Case(data)
    for view in case.views:
        for original in (case.sample, None):
            sample = put(case.ops, view, original)
            if sample is not None:
                assert same(apply_get(case.ops, sample), view)


@many
@given(st.data())
def test_without_lossy_operations_the_last_view_that_is_put_wins(data: st.DataObject) -> None:
    case = Case(data)
    if lossy(case.ops):
        return
    for first in case.views:
        sample = put(case.ops, first, case.sample)
        for second in case.views if sample is not None else ():
            directly = put(case.ops, second, case.sample)
            if directly is not None:
                assert same(put(case.ops, second, sample), directly)


@many
@given(st.data())
def test_a_lens_that_type_checks_leads_from_samples_of_one_schema_to_samples_of_the_other(
    data: st.DataObject,
) -> None:
    case = Case(data)
    assert check_ops(case.code, case.source, case.target) == []
    view = get(case.ops, case.sample)
    assert view is None or conforms(view, case.target.fields)
    for changed in case.views:
        for original in (case.sample, None):
            sample = put(case.ops, changed, original)
            assert sample is None or conforms(sample, case.source.fields)


@many
@given(st.data())
def test_two_lenses_composed_are_one_after_the_other(data: st.DataObject) -> None:
    case = Case(data)
    then = FieldOps(data.draw(lenses(case.target), "then"))
    both, ops = parse(compose(case.code, then)), parse(then)
    middle = get(case.ops, case.sample)
    view = None if middle is None else get(ops, middle)
    if view is not None:
        assert same(apply_get(both, case.sample), view)
    target = result_fields(then, case.target)
    changed = [data.draw(samples(target), "changed"), *([view] if view is not None else [])]
    for one in changed:
        for original, between in ((case.sample, middle), (None, None)):
            if original is not None and view is None:
                continue
            back = put(ops, one, between)
            sample = None if back is None else put(case.ops, back, original)
            if sample is not None:
                assert same(apply_put(both, one, original), sample)
            elif len(both) == len(case.ops) + len(ops):
                assert put(both, one, original) is None
