"""Tangents: what is guessed of a network from one alike is true where nothing interacts; what is scored is worth it."""

from __future__ import annotations

import numpy as np
import pytest

import ofa.space as spaces
from ofa.search import tangent
from ofa.search.archive import Archive
from ofa.search.sites import sites_of
from ofa.search.tangent import propose, tangents, unknown
from ofa.search.worth import Worth
from ofa.space import sample
from tests.search.test_find import Truth

SPACE = spaces.load("mobilenet_v3", width=1.2)
SITES = sites_of(SPACE)


def archive(interaction: float = 0.0) -> Archive:
    truth = Truth(SPACE, 3, interaction)
    return Archive(SPACE, truth.accuracy, [truth.limit(0.6)])


def test_gains_of_another_network_are_guessed_from_one_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    own = archive()
    parent, child = own.rows(sample.random(SPACE, 2, np.random.default_rng(0))).reshape(2, 1)
    of_parent = tangents(own, Worth.of(own), parent, unknown(own, 1))
    monkeypatch.setattr(tangent, "SINGLES", 0)
    scored = len(own)
    guessed = tangents(own, Worth.of(own), child, of_parent.gain)
    assert len(own) == scored
    other = archive()
    true = tangents(other, Worth.of(other), other.rows(own.take(child).genomes), unknown(other, 1))
    in_use = (of_parent.codes[0] > 0) & (guessed.codes[0] > 0)
    # What a depth gains depends on the blocks that it adds or drops.
    depths = np.isin(np.arange(SITES.count), SITES.depth[SITES.depth >= 0])
    sure = in_use & ~depths
    assert sure.sum() > 8
    assert np.nanmax(np.abs(guessed.gain[0, sure] - true.gain[0, sure])) < 1e-3
    assert (np.isnan(guessed.gain) == np.isnan(true.gain)).all()
    np.testing.assert_allclose(guessed.cost, true.cost, atol=1e-4)


def test_of_guessed_changes_those_are_scored_that_promise_most_within_the_limits() -> None:
    own = archive(0.3)
    truth = own.limits[0]
    few = sample.random(SPACE, 200, np.random.default_rng(1))
    rows = own.within(few)[:2]
    first = tangents(own, Worth.of(own), rows, unknown(own, 2))
    scored = len(own)
    # The same networks once more: all their changes are met, so that nothing is left to score.
    again = tangents(own, Worth.of(own), rows, first.gain)
    assert len(again.singles) == 0 and len(own) == scored
    fresh = archive(0.3)
    rows = fresh.rows(own.take(rows).genomes)
    other = tangents(fresh, Worth.of(fresh), rows, first.gain)
    assert np.bincount(other.owners, minlength=2).tolist() == [tangent.SINGLES, tangent.SINGLES]
    found = fresh.take(other.singles)
    assert (found.values[:, 0] <= truth.at_most * (1 + 1e-9)).all()
    np.testing.assert_allclose(other.gain, first.gain, atol=1e-3)


def test_gains_of_a_worth_are_net_of_its_price() -> None:
    own = archive(0.3)
    rows = own.within(sample.random(SPACE, 200, np.random.default_rng(1)))[:2]
    plain = tangents(own, Worth.of(own), rows, unknown(own, 2))
    net = tangents(own, Worth.of(own, np.array([0.2])), rows, unknown(own, 2))
    np.testing.assert_allclose(net.gain, plain.gain - np.float32(0.2) * plain.cost[:, 0], atol=1e-3)
    assert np.nanmax(np.abs(net.gain - plain.gain)) > 0.1


def test_proposals_are_new_change_several_sites_and_keep_to_their_network() -> None:
    own = archive(0.3)
    rows = own.within(sample.random(SPACE, 200, np.random.default_rng(1)))[:3]
    at = tangents(own, Worth.of(own), rows, unknown(own, 3))
    rng = np.random.default_rng(3)
    genomes, owners = propose(own, at, rng, draws=50, visits=np.zeros(3, dtype=np.int64), most=7)
    assert (np.bincount(owners, minlength=3) <= 7).all() and len(genomes) == len(owners) > 7
    assert (own.met(genomes) < 0).all() and len(np.unique(genomes, axis=0)) == len(genomes)
    assert (SPACE.canonical(genomes) == genomes).all()
    changed = (SITES.codes(genomes) != at.codes[owners]).sum(axis=1)
    others = (SITES.codes(genomes) != at.codes[(owners + 1) % 3]).sum(axis=1)
    assert changed.max() <= 14 and (changed < others).all()
