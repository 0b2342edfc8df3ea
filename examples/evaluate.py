"""Judge two bundles against tuned Adam on three tasks, from Python alone.

python examples/evaluate.py

Adam is tuned on every task, on a seed that it is not judged on. Takes half a minute on one core.
"""

import tasks
from meta_train.evaluation import Plan, Workload, baseline, evaluate, learned

names = ("digits_mlp", "wine_mlp", "iris_mlp")
suite = [Workload(name, tasks.make(name), num_steps=200) for name in names]
optimizers = [learned("general"), learned("general_seed1"), baseline("adam")]
result = evaluate(optimizers, suite, Plan(num_seeds=3))
print(result.verdict("general"))
