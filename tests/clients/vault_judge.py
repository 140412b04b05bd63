"""What others' programs say of tables. Each command prints one line of JSON.

    measure QUESTIONS                    pycanon: k and l, and of tables with few classes entropy l and t; a list of
                                         {file, sensitive, quasi, all}
    singled-out RAW RELEASE CONTROL      anonymeter: the upper bound of the risk to be singled out, multivariate
    draws COUNT SCALE DEVIATION          OpenDP: values of discrete Laplace and Gaussian noise, counted
    account EVENTS DELTA                 dp-accounting: the epsilon of [["laplace" | "gaussian", epsilon, times], ...]
    speed FILE HIERARCHIES QUASI...      pycanon's k, l and t, and anjana's k = 5: milliseconds, and what that lost
"""

import json
import sys
import time
import warnings

import pandas

warnings.filterwarnings("ignore")


def table(path):
    return pandas.read_csv(path, sep=None, engine="python", dtype=str, keep_default_na=False)


def measured(question):
    from pycanon import anonymity

    data, quasi = table(question["file"]), question["quasi"]
    sensitive = question["sensitive"]
    try:
        data[sensitive] = pandas.to_numeric(data[sensitive])
    except ValueError:
        pass  # Words, then.
    said = {
        "k": anonymity.k_anonymity(data, quasi),
        "l": anonymity.l_diversity(data, quasi, [sensitive]),
    }
    if question["all"]:
        said["entropy"] = anonymity.entropy_l_diversity(data, quasi, [sensitive])
        said["t"] = anonymity.t_closeness(data, quasi, [sensitive])
    return said


def singled_out(raw, release, control):
    from anonymeter.evaluators import SinglingOutEvaluator

    raw, release, control = (table(path) for path in (raw, release, control))
    judge = SinglingOutEvaluator(
        ori=raw,
        syn=release,
        control=control,
        n_attacks=150,
        n_cols=min(4, len(raw.columns)),
        max_attempts=15000,
        seed=1,
    )
    risk = judge.evaluate(mode="multivariate").risk()
    return {"risk": risk.value, "upper": risk.ci[1], "queries": len(judge.queries())}


def draws(count, scale, deviation):
    import collections

    import opendp.prelude as dp

    dp.enable_features("contrib")
    whole = dp.vector_domain(dp.atom_domain(T=int))
    laplace = dp.m.make_laplace(whole, dp.l1_distance(T=int), scale=scale)
    gaussian = dp.m.make_gaussian(whole, dp.l2_distance(T=float), scale=deviation)
    return {
        "laplace": collections.Counter(laplace([0] * count)),
        "gaussian": collections.Counter(gaussian([0] * count)),
    }


def account(events, delta):
    import dp_accounting
    from dp_accounting import dp_event
    from dp_accounting.pld import PLDAccountant
    from dp_accounting.rdp import RdpAccountant

    exact = PLDAccountant(
        neighboring_relation=dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE
    )
    orders = [1 + i / 10 for i in range(1, 100)] + list(range(11, 3000, 3))
    concentrated = RdpAccountant(orders=orders)
    kinds = {"laplace": dp_event.LaplaceDpEvent, "gaussian": dp_event.GaussianDpEvent}
    for kind, epsilon, times in events:
        exact.compose(kinds[kind](1 / epsilon), int(times))
        concentrated.compose(dp_event.ZCDpEvent(times * epsilon**2 / 2))
    return {"exact": exact.get_epsilon(delta), "concentrated": concentrated.get_epsilon(delta)}


def speed(path, folder, quasi):
    from anjana import anonymity as anjana
    from pycanon import anonymity

    def timed(run):
        started = time.perf_counter()
        run()
        return (time.perf_counter() - started) * 1000

    data = table(path)
    sensitive = "salary-class"
    trees = {}
    for name in quasi:
        rows = pandas.read_csv(
            f"{folder}/adult_hierarchy_{name}.csv", sep=";", header=None, dtype=str
        )
        trees[name] = {level: rows[level].values for level in rows.columns}
    said = {
        "pycanon_k": timed(lambda: anonymity.k_anonymity(data, quasi)),
        "pycanon_l": timed(lambda: anonymity.l_diversity(data, quasi, [sensitive])),
        "pycanon_t": timed(lambda: anonymity.t_closeness(data, quasi, [sensitive])),
    }
    released = []
    took = timed(
        lambda: released.append(anjana.k_anonymity(data.copy(), [], quasi, 5, 5, trees))
    )
    (released,) = released
    assert anonymity.k_anonymity(released, quasi) >= 5
    # As ours: the geometric mean of the columns' losses; a row left out loses everything.
    loss, left_out = 1.0, len(data) - len(released)
    for name in quasi:
        levels = [level for level in trees[name].values() if set(released[name]) <= set(level)]
        counts = pandas.Series(levels[0]).value_counts()
        lost = (released[name].map(counts) - 1) / (len(levels[0]) - 1)
        loss *= 1 + (lost.sum() + left_out) / len(data)
    said["anjana"] = {
        "milliseconds": took,
        "suppressed": left_out,
        "loss": loss ** (1 / len(quasi)) - 1,
    }
    return said


match sys.argv[1:]:
    case ["measure", questions]:
        said = [measured(question) for question in json.loads(questions)]
    case ["singled-out", raw, release, control]:
        said = singled_out(raw, release, control)
    case ["draws", count, scale, deviation]:
        said = draws(int(count), float(scale), float(deviation))
    case ["account", events, delta]:
        said = account(json.loads(events), float(delta))
    case ["speed", path, folder, *quasi]:
        said = speed(path, folder, quasi)
    case _:
        sys.exit(__doc__)
print(json.dumps(said, default=float))
