"""The embedder's losses: hand-computed values, what is mined, and where gradients lead."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from edge.errors import ConfigError
from trainers.losses import embedding as objective
from trainers.losses.embedding import MINERS, EmbedTask, ObjectiveConfig, parse_parts


def unit(*degrees: float) -> np.ndarray:
    """Vectors on the unit circle: squared distances are 2 - 2 cos of the angle between."""
    angle = np.radians(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)


def squared(a: float, b: float) -> float:
    return float(2 - 2 * np.cos(np.radians(a - b)))


def value(tensor: object) -> float:
    return float(ops.convert_to_numpy(tensor))


def mined(kind: str, degrees: tuple[float, ...], person: list[int], alpha: float = 0.3) -> float:
    distances = objective.squared_distances(ops.convert_to_tensor(unit(*degrees)))
    return value(MINERS[kind](distances, ops.convert_to_tensor(np.int32(person)), alpha))


def test_semi_hard_takes_the_nearest_negative_that_is_farther_than_the_positive():
    # from 0 the positive lies at 20; of the negatives at 15, 30 and 90 it is 30 that counts
    found = mined("semi-hard", (0, 20, 15, 30, 90), [0, 0, 1, 2, 3])
    from_0 = max(squared(0, 20) - squared(0, 30) + 0.3, 0)
    from_20 = max(squared(20, 0) - squared(20, 90) + 0.3, 0)  # 15 and 30 are nearer than 0
    assert found == pytest.approx((from_0 + from_20) / 2, abs=1e-5)


def test_semi_hard_falls_back_to_the_farthest_negative():
    found = mined("semi-hard", (0, 60, 10, 30), [0, 0, 1, 2])  # every negative is nearer
    from_0 = squared(0, 60) - squared(0, 30) + 0.3
    from_60 = squared(60, 0) - squared(60, 10) + 0.3
    assert found == pytest.approx((from_0 + from_60) / 2, abs=1e-5)


def test_batch_hard_takes_the_farthest_positive_and_the_nearest_negative():
    found = mined("batch-hard", (0, 10, 50, 40, 180), [0, 0, 0, 1, 2])
    # 0: 50 against 40; 10: 50 against 40; 50: 0 against 40; 40 and 180 have no positive
    losses = [
        squared(0, 50) - squared(0, 40) + 0.3,
        squared(10, 50) - squared(10, 40) + 0.3,
        squared(50, 0) - squared(50, 40) + 0.3,
    ]
    assert found == pytest.approx(np.mean(losses), abs=1e-5)


@pytest.mark.parametrize("kind", MINERS)
@pytest.mark.parametrize(
    ("degrees", "person"),
    [
        ((0, 1, 120, 121), [0, 0, 1, 1]),  # told apart by more than alpha
        ((0, 10, 20, 30), [0, 1, 2, 3]),  # no two pictures of anybody
        ((0, 10, 20, 30), [0, 0, 0, 0]),  # nobody else
        ((0, 60, 10, 30), [-1, -1, -1, -1]),  # nobody in particular
    ],
)
def test_triplets_cost_nothing_where_nothing_is_to_learn(kind, degrees, person):
    assert mined(kind, degrees, person) == 0


@pytest.mark.parametrize("kind", MINERS)
def test_faces_of_nobody_change_no_triplet(kind):
    assert mined(kind, (0, 20, 30, 5, 12), [0, 0, 1, -1, -1]) == pytest.approx(
        mined(kind, (0, 20, 30), [0, 0, 1]), abs=1e-6
    )


@pytest.mark.parametrize("kind", MINERS)
@pytest.mark.parametrize("seed", range(5))
def test_mining_equals_brute_force(kind, seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(12, 4))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    person, alpha = rng.integers(0, 4, 12), 0.3
    d = ((rows[:, None] - rows[None]) ** 2).sum(-1)
    losses = []
    for a in range(12):
        negatives = [d[a, n] for n in range(12) if person[n] != person[a]]
        positives = [d[a, p] for p in range(12) if p != a and person[p] == person[a]]
        if kind == "batch-hard":
            if positives and negatives:
                losses.append(max(max(positives) - min(negatives) + alpha, 0))
            continue
        for far in positives:
            beyond = [x for x in negatives if x > far]
            losses.append(max(far - (min(beyond) if beyond else max(negatives)) + alpha, 0))
    tensors = ops.convert_to_tensor(rows.astype(np.float32)), ops.convert_to_tensor(person)
    found = MINERS[kind](objective.squared_distances(tensors[0]), tensors[1], alpha)
    assert value(found) == pytest.approx(np.mean(losses), abs=1e-4)


def test_binary_weighs_both_kinds_of_pairs_alike():
    logit = np.float32([[9, 2, -1], [2, 9, -3], [-1, -3, 9]])
    person = ops.convert_to_tensor(np.int32([0, 0, 1]))
    same = np.log1p(np.exp(-2))
    different = (np.log1p(np.exp(-1)) + np.log1p(np.exp(-3))) / 2
    found = value(objective.binary_loss(ops.convert_to_tensor(logit), person))
    assert found == pytest.approx((same + different) / 2, abs=1e-5)


def test_pairs_are_described_by_distance_or_chi_square():
    rows = ops.convert_to_tensor(np.float32([[0.6, -0.8], [0.2, 0.4]]))
    absolute = ops.convert_to_numpy(objective.pair_features(rows, "absolute"))
    np.testing.assert_allclose(absolute[0, 1], [0.4, 1.2], atol=1e-6)
    chi = ops.convert_to_numpy(objective.pair_features(rows, "chi-square"))
    np.testing.assert_allclose(chi[0, 1], [0.16 / 0.801, 1.44 / 1.201], atol=1e-5)
    assert not chi[0, 0].any()


def test_the_margin_makes_the_own_person_harder():
    cosine, angle, scale = np.float32([[0.8, 0.1]]), 0.3, 10.0
    own = np.cos(np.arccos(0.8) + angle)
    expected = np.log(np.exp(scale * own) + np.exp(scale * 0.1)) - scale * own
    person = ops.convert_to_tensor(np.int32([0]))
    found = value(objective.margin_loss(ops.convert_to_tensor(cosine), person, scale, angle))
    assert found == pytest.approx(expected, abs=1e-4)
    without = value(objective.margin_loss(ops.convert_to_tensor(cosine), person, scale, 0.0))
    assert without < found


def test_the_teacher_is_matched_by_direction_and_untaught_rows_do_not_count():
    mine, taught = unit(0, 50, 70), unit(60, 50, 0)
    taught[2] = 0
    found = value(objective.teacher_loss(*map(ops.convert_to_tensor, (mine, taught))))
    assert found == pytest.approx((1 - 0.5 + 0) / 2, abs=1e-5)


@pytest.mark.parametrize("name", objective.NAMES)
def test_every_loss_pulls_one_person_together_and_pushes_others_apart(name):
    """Free vectors instead of a network: after some steps along the gradient."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((2,))
    network = keras.Model(inputs, keras.layers.Identity()(inputs))
    task = EmbedTask(network, ObjectiveConfig(((name, 1.0),)), people=2)
    rows = keras.Variable(unit(0, 50, 30, 80) + 0.0)
    person = np.int32([0, 0, 1, 1])
    y = {"person": ops.convert_to_tensor(person), "teacher": unit(0, 5, 120, 125)}
    task(rows)
    optimizer = keras.optimizers.Adam(0.02)
    tf = pytest.importorskip("tensorflow")

    def spread() -> tuple[float, float]:
        now = ops.convert_to_numpy(rows)
        now = now / np.linalg.norm(now, axis=1, keepdims=True)
        cosine = now @ now.T
        return float(cosine[0, 1] + cosine[2, 3]) / 2, float(cosine[:2, 2:].mean())

    before = spread()
    variables = [rows, *task.trainable_variables]
    for _ in range(60):
        with tf.GradientTape() as tape:
            long = ops.sqrt(ops.sum(ops.square(rows), 1, keepdims=True))
            loss = sum(task.compute_losses(rows / long, y).values())
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
    together, apart = spread()
    assert together > before[0]
    assert apart < before[1]


@pytest.mark.parametrize("text", ["", "contrastive", "teacher+", "triplet:-1", "teacher:b"])
def test_a_loss_nobody_knows_is_refused(text):
    with pytest.raises(ConfigError, match="--loss"):
        parse_parts(text)


def test_losses_are_combined_by_weight():
    assert parse_parts("teacher+triplet:0.2") == (("teacher", 1.0), ("triplet", 0.2))
