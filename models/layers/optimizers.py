"""Optimizers that follow a system's own step."""

from collections.abc import Sequence

import tensorflow as tf


class Adam(tf.keras.optimizers.Adam):
  """Keras' Adam with its update done by one kernel.

  Keras writes the update as ten operations that each walk over all weights; TensorFlow's kernel walks once, and on CPUs
  the update of a large network is bound by memory. Same formula, same variables, same checkpoints.
  """

  def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
    if isinstance(gradient, tf.IndexedSlices) or self.amsgrad:
      super().update_step(gradient, variable)
      return
    slot = self._index_dict[self._var_key(variable)]
    finished = tf.cast(self.iterations + 1, variable.dtype)
    beta_1, beta_2 = tf.constant(self.beta_1, variable.dtype), tf.constant(self.beta_2, variable.dtype)
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle, m=self._momentums[slot].handle, v=self._velocities[slot].handle, grad=gradient,
        beta1_power=tf.pow(beta_1, finished), beta2_power=tf.pow(beta_2, finished), beta1=beta_1, beta2=beta_2,
        lr=tf.cast(self.learning_rate, variable.dtype), epsilon=tf.constant(self.epsilon, variable.dtype))


class StepDecay(tf.keras.optimizers.schedules.LearningRateSchedule):
  """The rate start * factor^floor(step / every), but never below floor.

  It reads the system's step, not the optimizer's own count, so that a critic that is updated five times a step decays
  like its generator.

  Args:
    step: the system's step variable.
    start: rate at step 0.
    factor: what each decay multiplies by.
    every: steps between two decays.
    floor: the lowest rate.
  """

  def __init__(self, step: tf.Variable, start: float, factor: float, every: int, floor: float):
    self.step, self.start, self.factor, self.every, self.floor = step, start, factor, every, floor

  def __call__(self, iterations: tf.Tensor) -> tf.Tensor:
    del iterations
    decays = tf.cast(self.step // self.every, tf.float32)
    return tf.maximum(self.start * tf.pow(self.factor, decays), self.floor)

  def get_config(self) -> dict:
    return {'start': self.start, 'factor': self.factor, 'every': self.every, 'floor': self.floor}


class Halvings(tf.keras.optimizers.schedules.LearningRateSchedule):
  """The rate start / 2^n, n the number of the given steps that are finished, but never below floor.

  Args:
    step: the system's step variable.
    start: rate at step 0.
    steps: after how many steps the rate is halved, each time.
    floor: the lowest rate.
  """

  def __init__(self, step: tf.Variable, start: float, steps: Sequence[int], floor: float = 0.0):
    self.step, self.start, self.steps, self.floor = step, start, list(steps), floor

  def __call__(self, iterations: tf.Tensor) -> tf.Tensor:
    del iterations
    halvings = tf.reduce_sum(tf.cast(self.step >= tf.constant(self.steps, tf.int64), tf.float32))
    return tf.maximum(self.start * tf.pow(0.5, halvings), self.floor)

  def get_config(self) -> dict:
    return {'start': self.start, 'steps': self.steps, 'floor': self.floor}


class Pieces(tf.keras.optimizers.schedules.LearningRateSchedule):
  """The rate start * factors[n], n the number of the given steps that are finished.

  Args:
    step: the system's step variable.
    start: what the factors multiply.
    steps: after how many steps the next factor holds, each time.
    factors: one more than there are steps.
  """

  def __init__(self, step: tf.Variable, start: float, steps: Sequence[int], factors: Sequence[float]):
    self.step, self.start, self.steps, self.factors = step, start, list(steps), list(factors)

  def __call__(self, iterations: tf.Tensor) -> tf.Tensor:
    del iterations
    piece = tf.reduce_sum(tf.cast(self.step >= tf.constant(self.steps, tf.int64), tf.int32))
    return self.start * tf.gather(tf.constant(self.factors), piece)

  def get_config(self) -> dict:
    return {'start': self.start, 'steps': self.steps, 'factors': self.factors}


class LinearDecay(tf.keras.optimizers.schedules.LearningRateSchedule):
  """The rate start, and after `constant` steps a fall to 0 on a line.

  Args:
    step: the system's step variable.
    start: rate at step 0.
    constant: steps before the fall.
    fall: steps that it takes; with 0 the rate never falls.
  """

  def __init__(self, step: tf.Variable, start: float, constant: int, fall: int):
    self.step, self.start, self.constant, self.fall = step, start, constant, fall

  def __call__(self, iterations: tf.Tensor) -> tf.Tensor:
    del iterations
    if not self.fall:
      return tf.constant(self.start)
    fallen = tf.cast(self.step - self.constant, tf.float32) / self.fall
    return self.start * (1 - tf.clip_by_value(fallen, 0.0, 1.0))

  def get_config(self) -> dict:
    return {'start': self.start, 'constant': self.constant, 'fall': self.fall}
