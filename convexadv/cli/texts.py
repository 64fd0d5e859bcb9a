"""Descriptions and examples in the help of every verb."""

from __future__ import annotations

from typing import NamedTuple


class Details(NamedTuple):
    """Text above and below the options in the help of a verb."""

    description: str
    examples: str


FIT = Details(
    """\
Train a network and certify it. The answer comes with a lower bound on what any network of this kind could
reach: the gap between the two is proven, not estimated. Rows are scaled first (--scaling), and --radius and
--norm describe balls around the *scaled* rows: with the default scaling the longest training row has length
1, so 0.1 is a tenth of it. The saved model carries its scaling and takes raw rows.
""",
    """\
examples:
  convexadv fit wdbc --radius 0.1 --beta 0.01 --test-fraction 0.25 --plot gap.png
      a robust network on the Wisconsin breast cancer data, its accuracy on held-out rows, the gap over time
  convexadv fit table.csv --target label --loss logistic --out model.safetensors
      your own table: every other column is a feature
  convexadv fit data.npz --target y --norm linf --radius 0.01 --json > fit.json
      arrays X and y of an archive; the numbers as JSON for a script
  convexadv fit wine --multiclass joint --radius 0.05 --time-limit 10 || echo "code $?"
      three classes; code 3 says that 10 s were not enough for the tolerance
  convexadv fit rows.npy --target labels.npy --checkpoint state --resume
      rows that are read in blocks; killed and started again, it goes on where it was
  torchrun --nproc-per-node 4 -m convexadv fit rows/ --target labels.npy --radius 0.1
      polynomial networks: four processes with a quarter of the rows each, one answer (docs/scale.md)
""",
)
EVALUATE = Details(
    """\
How accurate a model is on clean rows, under attack, and for certain. For every radius: the accuracy after
FGSM and after PGD (from above: a better attack may break more rows) and the certified accuracy (from below:
no perturbation in the ball can break these rows; exact for polynomial networks in l2 balls). The truth lies
between the last two.
""",
    """\
examples:
  convexadv evaluate model.safetensors wdbc
      radii around the one of the training, in its units
  convexadv evaluate model.safetensors wdbc --test-fraction 0.25 --seed 0
      only the rows that `fit` held out with the same two options
  convexadv evaluate model.safetensors table.csv --target label --norm linf --radius 0.01 0.02 0.05 --json
  convexadv evaluate model.safetensors table.csv --units raw --radius 0.5
      a ball of radius 0.5 in the units of the table
""",
)
CERTIFY = Details(
    """\
For every radius: the accuracy after attacks (from above), the accuracy that is proven (from below), and the rows
between them, of which nothing is known. With --certificate the proof of every row becomes a file that anyone can check
without torch, a solver, or this network's code.
""",
    """\
examples:
  convexadv certify model.safetensors wdbc
  convexadv certify model.safetensors wdbc --norm linf --radius 0.01 0.02 --method strongest --plot accuracy.png
  convexadv certify model.safetensors wdbc --radius 0.1 --certificate proof.safetensors
  convexadv verify proof.safetensors
  convexadv certify relu.safetensors wdbc --complete --time-limit 60 --json accuracy.json
""",
)
VERIFY = Details(
    """\
Check every claim of a certificate file again: the bounds are computed anew from the weights, the rows and the witnesses
in the file, with NumPy and code that shares nothing with what found them. Code 0 says that every claim holds, code 6 that
one does not. docs/certificate-format.md has the format and the proofs.
""",
    """\
examples:
  convexadv verify proof.safetensors
  convexadv verify proof.safetensors --model model.safetensors
""",
)
ATTACK = Details(
    """\
Move every row inside its ball to where the model errs, and write the moved rows. The archive has the same
form as data for `convexadv evaluate` and `convexadv fit`.
""",
    """\
examples:
  convexadv attack model.safetensors wdbc --radius 0.1 --out points.npz
  convexadv attack model.safetensors wdbc --radius 0.02 --norm linf --method fgsm --json
  convexadv attack model.safetensors digits --radius 0.2 --method strongest --bounds 0 16
  convexadv attack model.safetensors digits --radius 0.2 --toward 8 --method apgd
  convexadv evaluate other.safetensors points.npz
      do the points fool another model too?
""",
)
ROBUSTIFY = Details(
    """\
Replace the last layers of a trained classifier by a two-layer network that is trained, against an adversary in
the space of the features, to the global optimum of its convex programme. Of several settings the one is taken
whose whole model is most accurate under attack on held-out rows. The model's own file is not changed. With
--model package.module:function that code of yours is imported and runs; files of weights never run code.
""",
    """\
examples:
  convexadv robustify cifar10 --weights resnet.safetensors --attack-radius 0.0078 --bounds 0 1
  convexadv robustify cifar10 --weights resnet.safetensors --radius 0.05 0.1 0.2 --beta 0.1 0.03 0.01 \\
      --attack-radius 0.0078 --bounds 0 1 --ball movement --out head.safetensors --report report.json
      nine settings, the ball shaped to how the features move under the attack
  convexadv robustify digits --model nets:small --weights small.pt --at features --head relu --gates 50 --rows 500
      your own architecture, from nets.py in the working folder; `features` is a layer of it
  convexadv robustify digits --model nets:small --weights compact.safetensors
      a head for what `convexadv compress` wrote
""",
)
COMPRESS = Details(
    """\
Make a trained classifier smaller: one budget for the whole model, the ranks of all its layers chosen together, by
adversarial training (ADMM, then fine-tuning of the factors). The inputs are the rows of the data as they are, so the
radius and the bounds are in their units. The model's own file is not changed. With --model
package.module:function that code of yours is imported and runs; files of weights never run code.
""",
    """\
examples:
  convexadv compress cifar10 --weights resnet.safetensors --ratio 8 --augment shift+mirror --out small.safetensors
  convexadv compress cifar10 --weights resnet.safetensors --ratio 4 --measure flops --attack trades --epochs 10 20 \\
      --checkpoint run --resume --latency --report report.json
  convexadv compress digits --model nets:small --weights small.pt --radius 0.5 --bounds 0 16 --keep head
      your own architecture, from nets.py in the working folder
""",
)
SOLVERS = Details(
    "What can solve a problem on this machine, and why the rest cannot.\n",
    """\
examples:
  convexadv solvers
  convexadv solvers --json
""",
)
DEMO = Details(
    """\
The whole story on real data: train a standard and a robust network on the Wisconsin diagnostic breast cancer
data to a certified gap of 1e-4, attack and certify both on held-out rows, and write models, tables and plots
to a folder.
""",
    """\
examples:
  convexadv demo --out demo
  convexadv demo --out demo --quick
""",
)
