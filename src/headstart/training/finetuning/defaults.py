"""The numbers that a fine-tuning goes by, in one table, each with its source or its reason; views have the presets."""

from __future__ import annotations

from typing import Final

# ---- learning rates (AdamW) --------------------------------------------------------------------------------------

# The rate of the stage below the head, and of a head that starts at the probe's optimum. Recipes for fine-tuning with
# AdamW lie between 5e-5 (ConvNeXt, Liu et al. 2022, batches of 512) and 1e-3 (fastai's fine_tune, batches of 64); with
# a hundred steps instead of ten thousand the upper end is what moves the weights far enough.
STAGE_RATE: Final = 1e-3
# Each stage's rate over that of the stage above it. Layer-wise decay of 0.65 to 0.9 a block is usual (BEiT, Bao et al.
# 2022; MAE, He et al. 2022; ConvNeXt); over nine stages 0.75 leaves the stem a tenth, fastai's ratio of first to last
# group lies between that and a hundredth.
STAGE_DECAY: Final = 0.75
# A random head's rate over the stage rate: the lower end of the 10 to 100 that separate new from pretrained layers in
# fastai's fine_tune and in most published recipes. A head from the probe gets 1.
RANDOM_HEAD_FACTOR: Final = 10.0
# Linear warm-up as a share of all steps: fastai's one-cycle schedule spends a quarter on it (pct_start 0.25). Recipes
# for long trainings take 5 %, but there that is thousands of steps; here it would be five, and AdamW's first steps,
# whose scale is not known yet, would undo what the probe knows.
WARMUP_SHARE: Final = 0.25
# Where the cosine ends, as a share of the base rate. timm ends at 1e-5 or 1e-6 from 1e-3; exactly 0 would waste a step.
RATE_FLOOR: Final = 0.01
# Deviation of a random head's weights: the usual start of a new linear layer on pretrained features (torchvision's and
# detectron2's classifiers, MoCo's linear probes); logits begin near zero.
RANDOM_HEAD_DEVIATION: Final = 0.01
# Of tokens and positions where training starts from scratch: ViT's (Dosovitskiy et al. 2021).
TOKEN_DEVIATION: Final = 0.02
# A rung that did worse than its predecessor is tried again at this share of its rate (the ladder's rule).
RETRY_FACTOR: Final = 0.1

# ---- augmentation ------------------------------------------------------------------------------------------------

# Crops, flips, small turns and light: about what fastai's aug_transforms does by default.
AUGMENT: Final = "medium"

# ---- length ------------------------------------------------------------------------------------------------------

# The reference setting of the project's own comparisons.
EPOCHS: Final = 12
# More are a slip of the finger: ten thousand images would take years on a laptop.
MOST_EPOCHS: Final = 100_000
# Of progressive unfreezing at each cut: a third, since every cut goes on from what the one above it learnt; nine cuts
# of 12 epochs are more than one training needs. ULMFiT trains a single epoch a group (Howard and Ruder 2018).
EPOCHS_A_CUT: Final = 4
# Where so few epochs are fewer steps than this, there are more, up to EPOCHS: rates must rise and fall again within a
# cut, and a gain must show above the noise of the few rows that judge. Seen on two data sets, with one seed each: in 32
# steps a cut sketches stayed at the probe; of brain MRI, 228 steps (`--epochs 12`) brought the least validation loss at
# cut 5 to 0.14, and 114 (`--epochs 6`) to 0.20.
STEPS_A_CUT: Final = 192
BATCH_SIZE: Final = 32
# Epochs without an improvement beyond noise after which training stops. Rates that rise and then fall to nothing bring
# the gain at the end: what starts at the probe is often worse in between, so EPOCHS are seen through, and only longer
# trainings stop early.
PATIENCE: Final = EPOCHS
# The same in longer trainings, as a share of their epochs: the quarter that warms up, and half at falling rates.
PATIENCE_SHARE: Final = 0.75
# An improvement must exceed this many standard errors of the paired differences; 1 keeps about five of six gains that
# are real and as large as noise, and costs no more than patience where it is wrong (Breiman et al. 1984's one-SE rule).
NOISE_ERRORS: Final = 1.0
# Epochs in a row with the validation loss above its best, while the training loss falls, before a warning is given.
# Two may be chance, and of the 12 there are by default more than three would leave little to save.
DIVERGING_EPOCHS: Final = 3

# ---- regularisation ----------------------------------------------------------------------------------------------

# Decoupled weight decay on weight matrices and filters, none on norms and biases: the value of the AdamW fine-tuning
# recipes of DeiT, BEiT and MAE, and timm's for AdamW.
WEIGHT_DECAY: Final = 0.05
# L2-SP (Li, Grandvalet, Davoine 2018) on a head that starts at the probe. The paper searches strengths by powers of ten
# between 1e-3 and 1, but for SGD; here the penalty's gradient passes through AdamW, which scales it together with the
# loss's, so its range says little. This is a guess from its low end that no measurement stands behind.
HEAD_ANCHOR_STRENGTH: Final = 0.01
# Horizon of the average of weights, as a share of all steps: averages over 5 to 15 % of training were best throughout
# in Karras et al. 2024 (EDM2), who measured the whole range.
EMA_SHARE: Final = 0.1
# WiSE-FT (Wortsman et al. 2022): the start, the middle (their recommendation where nothing is known), the end.
WISE_COEFFICIENTS: Final = (0.0, 0.5, 1.0)

# ---- what a training starts from ---------------------------------------------------------------------------------

# Folds among the training rows that choose the head's penalty, and that judge the transforms: five, as for the probe.
START_FOLDS: Final = 5
# With fewer training rows no transform is judged: one row more that is wrong would be a drop of over 5 points.
CHECK_FEWEST_ROWS: Final = 20
# Held-out rows that a transform is judged on. Where it changes the verdict on a tenth of them, half of the drop's
# interval is 1.96 * sqrt(0.1 / 400), 3 points; more would take more than some seconds a transform.
CHECK_MOST_ROWS: Final = 400
# A drop of accuracy up to this is no reason, however certain: every change costs a probe that never saw it a little,
# and training on changed views is there to win that back. Where left and right decide, tens of points are lost.
CHECK_LEAST_DROP: Final = 0.02

# ---- judging ---------------------------------------------------------------------------------------------------------

# Validation rows that go through the network together: twice the usual training batch fits where that one does, since
# no gradients are kept.
JUDGED_AT_ONCE: Final = 64
# Batches that are decoded ahead of a GPU, so that one slow batch leaves it no gap; each is some MB.
DECODED_AHEAD: Final = 4
# Progressive unfreezing gives up after so many cuts without a gain beyond noise over the last that had one. The upper
# stages add little to what the probe can do, and two cuts end it there: brain MRI stopped at 0.863 with two, and went
# on to 0.898 with three (and more epochs).
FRUITLESS_CUTS: Final = 3

# ---- imbalance ---------------------------------------------------------------------------------------------------

# Menon et al. 2021: with tau = 1 the adjusted loss is consistent for the balanced error.
LOGIT_ADJUSTMENT_TAU: Final = 1.0
# Below this ratio of the most to the least frequent class (of no to yes for a label) priors move a logit by less than
# 0.41 nats: nothing is balanced.
BALANCED_RATIO: Final = 1.5
# The most that rows of a rare class or label weigh beside those of a frequent one: an own choice. What one row in a
# hundred has would get 99, and that row, in every third batch, would outweigh all others there.
HIGHEST_WEIGHT: Final = 20.0

# ---- learning-rate range test (Smith 2017) ------------------------------------------------------------------------

# fastai's lr_find: 100 mini-batches from 1e-7 to 10, stopped at four times the best loss. The range is cut at both ends
# to what AdamW can use.
RANGE_LOWEST: Final = 1e-6
RANGE_HIGHEST: Final = 1.0
RANGE_STEPS: Final = 100
RANGE_DIVERGED: Final = 4.0
# Weight of the past in the running mean that is watched for divergence.
RANGE_MEMORY: Final = 0.8
# Width, in decades of rate, of the kernel that smooths the losses from both sides before a rate is read off: about four
# of the steps of 0.06 decades, to average the noise of single mini-batches, and narrow beside the two decades or so
# that the loss takes to fall. An own choice.
RANGE_KERNEL_DECADES: Final = 0.25
# The smoothed loss must fall by this share of its start, or there is nothing to read a rate from. An own
# choice that catches what is flat; in the noise of small mini-batches a fall may be seen where there is none.
RANGE_LEAST_FALL: Final = 0.02
# What the rate of the least loss is divided by (fastai's "minimum" suggestion).
RANGE_SAFETY: Final = 10.0
# With fewer finite losses nothing is read off: a slope takes two points on either side.
RANGE_FEWEST_POINTS: Final = 5

# ---- precision ---------------------------------------------------------------------------------------------------

# Seconds that passes are timed for; with copies, first passes and the comparison of gradients about two in all, and
# more only where a pass of 8 rows takes a good part of a second.
PRECISION_SECONDS: Final = 1.0
# Of the time of the training in float32, what is spent on looking for something faster: bf16 saves up to 0.6 of it
# (docs/benchmarks.md), and of a training of few images timing all settings would take a good part.
PRECISION_SHARE: Final = 0.1
# Turns that every setting has within them: the fewest whose median leaves out one that other work has slowed down.
PRECISION_ROUNDS: Final = 3
# A pass is timed on no fewer rows than this, or on the whole batch: below, overheads hide what the arithmetic costs.
PRECISION_FEWEST_ROWS: Final = 8
# A network, or a machine, too slow for the time given may take so many times as long.
PRECISION_LATENESS: Final = 1.5
# A faster setting must be faster by more than this; repeated timings of one setting differ by about as much.
PRECISION_TIE: Final = 0.05
# The least cosine of the bf16 gradient to the float32 one. A mini-batch's own sampling noise turns the gradient far
# more (McCandlish et al. 2018); what lies below is a network that bf16 breaks, not rounding.
GRADIENT_COSINE: Final = 0.95
