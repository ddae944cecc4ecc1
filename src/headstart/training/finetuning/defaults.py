"""Every constant of fine-tuning in one table, each with its source beside it."""

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
# A rung that did worse than its predecessor is tried again at this share of its rate (the ladder's rule).
RETRY_FACTOR: Final = 0.1

# ---- augmentation ------------------------------------------------------------------------------------------------

# Crops, flips, small turns and light: about what fastai's aug_transforms does by default.
AUGMENT: Final = "medium"

# ---- length ------------------------------------------------------------------------------------------------------

# The reference setting of the project's own comparisons.
EPOCHS: Final = 12
BATCH_SIZE: Final = 32
# Epochs without an improvement beyond noise after which training stops. Rates that rise and then fall to nothing bring
# the gain at the end: what starts at the probe is often worse in between, so EPOCHS are seen through, and only longer
# trainings stop early.
PATIENCE: Final = EPOCHS
# An improvement must exceed this many standard errors of the paired differences; 1 keeps about five of six gains that
# are real and as large as noise, and costs no more than patience where it is wrong (Breiman et al. 1984's one-SE rule).
NOISE_ERRORS: Final = 1.0
# Epochs in a row with the validation loss above its best, while the training loss falls, before a warning is given.
DIVERGING_EPOCHS: Final = 3

# ---- regularisation ----------------------------------------------------------------------------------------------

# Decoupled weight decay on weight matrices and filters, none on norms and biases: the value of the AdamW fine-tuning
# recipes of DeiT, BEiT and MAE, and timm's for AdamW.
WEIGHT_DECAY: Final = 0.05
# L2-SP (Li, Grandvalet, Davoine 2018): strengths are searched there by powers of ten between 1e-3 and 1. Off unless
# asked for; this is the strength when asked for.
L2_SP_STRENGTH: Final = 0.01
# The same penalty for a head that starts at the probe: the middle of that range.
HEAD_ANCHOR_STRENGTH: Final = 0.01
# Horizon of the average of weights, as a share of all steps: averages over 5 to 15 % of training were best throughout
# in Karras et al. 2024 (EDM2), who measured the whole range.
EMA_SHARE: Final = 0.1
# WiSE-FT (Wortsman et al. 2022): the start, the middle (their recommendation where nothing is known), the end.
WISE_COEFFICIENTS: Final = (0.0, 0.5, 1.0)
# Zhang et al. 2018 find 0.1 to 0.4 best on ImageNet.
MIXUP_ALPHA: Final = 0.2
# Yun et al. 2019: the area that is pasted is uniform.
CUTMIX_ALPHA: Final = 1.0
# Szegedy et al. 2016, for a random head; a head from the probe gets 0, its optimum has none.
LABEL_SMOOTHING: Final = 0.1

# ---- imbalance ---------------------------------------------------------------------------------------------------

# Menon et al. 2021: with tau = 1 the adjusted loss is consistent for the balanced error.
LOGIT_ADJUSTMENT_TAU: Final = 1.0
# Below this ratio of the most to the least frequent class (of no to yes for a label) priors move a logit by less than
# 0.41 nats: nothing is balanced.
BALANCED_RATIO: Final = 1.5
# The most that a rare label's positives weigh: one row in a hundred would otherwise steer a batch alone.
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
# Width, in decades of rate, of the kernel that smooths the losses from both sides before a rate is read off.
RANGE_KERNEL_DECADES: Final = 0.25
# The smoothed loss must fall by this share of its start, or there is nothing to read a rate from.
RANGE_LEAST_FALL: Final = 0.02
# What the rate of the least loss is divided by (fastai's "minimum" suggestion).
RANGE_SAFETY: Final = 10.0

# ---- precision ---------------------------------------------------------------------------------------------------

PRECISION_SECONDS: Final = 1.0
PRECISION_ROUNDS: Final = 3
# A faster setting must be faster by more than this; repeated timings of one setting differ by about as much.
PRECISION_TIE: Final = 0.05
# The least cosine of the bf16 gradient to the float32 one. A mini-batch's own sampling noise turns the gradient far
# more (McCandlish et al. 2018); what lies below is a network that bf16 breaks, not rounding.
GRADIENT_COSINE: Final = 0.95
