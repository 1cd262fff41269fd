"""What every system shares: a Keras model whose `train_step` is one step of its game."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import tensorflow as tf

Batch = dict[str, tf.Tensor]


def use_xla(config: Any) -> bool:
  """Whether steps are compiled with XLA: as `config.xla` says, and for `auto` where there is a GPU.

  On two CPU cores the GC-GAN step ran seven times slower compiled (convolutions), so `auto` leaves CPUs alone.
  """
  return config.xla == 'on' or (config.xla == 'auto' and bool(tf.config.list_logical_devices('GPU')))


class System(tf.keras.Model):
  """A system of networks that are trained together.

  A subclass builds all networks and optimizers (`optimizer.build(variables)`) in `__init__`, so that a checkpoint
  restores at once, gives its layers `dtype=config.precision`, and defines one method `step_<phase>(batch) -> dict of
  scalar losses` per phase. All that training changes is a `tf.Variable` reachable from the model. A loss is a sum over
  the replica's samples divided by `config.batch_size`, so that sums over replicas are means over the global batch; the
  returned losses are summed over replicas for the log.

  Attributes:
    Config: the system's config dataclass (extends `RunConfig` and `DataConfig`); its class variable `system` is the
      name.
    config: the settings that this model was built from.
    step: int64 variable, the number of finished steps of the current phase.
    phase: name of the current phase; chosen before the step is traced.
    synchronized: whether batch statistics are to be taken over all replicas (`BatchNormalization(synchronized=...)`):
      where there are several, unless XLA is on, as collectives do not compile.
  """

  Config: ClassVar[type]

  def __init__(self, config: Any):
    super().__init__(name=config.system)
    self.config = config
    self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name='step',
                            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
    self.phase = next(iter(self.phases(config)))
    self.replicas = tf.distribute.get_strategy().num_replicas_in_sync
    self.synchronized = self.replicas > 1 and not use_xla(config)
    self._averages: list[tf.Variable] = []

  @classmethod
  def phases(cls, config: Any) -> dict[str, int]:
    """Names of the training phases and their numbers of steps (`config.<phase>_steps`), in order."""
    return {'train': config.train_steps}

  @classmethod
  def notes(cls, config: Any) -> list[str]:
    """What a person should know before a run with these settings begins."""
    del config
    return []

  @tf.__internal__.tracking.no_automatic_dependency_tracking
  def compile(self, steps_per_execution: int = 1, jit_compile: bool = False) -> None:
    """Prepares `fit`. Keras wants one optimizer here; the systems bring theirs, so it is neither used nor saved."""
    super().compile(tf.keras.optimizers.SGD(), steps_per_execution=steps_per_execution, jit_compile=jit_compile)

  def replica_local(self, function: Callable) -> Callable:
    """Compiles a loss-and-gradient function of one replica where the whole step cannot be compiled.

    Under several replicas `compile(jit_compile=True)` fails, since gradients are applied across them. So a step calls
    `self.replica_local(self.losses_and_gradients)(batch)` and applies the gradients itself. Anywhere else this returns
    the function.
    """
    if self.replicas > 1 and use_xla(self.config):
      return tf.function(function, jit_compile=True)
    return function

  def over_replicas(self, value: tf.Tensor) -> tf.Tensor:
    """Sum over replicas; gradients flow back to all of them."""
    if self.replicas == 1:
      return value
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)

  def averaged_networks(self) -> list[tf.keras.Model]:
    """The networks whose exponential moving average is evaluated; none unless a system says so."""
    return []

  def average_weights(self, decay: float) -> None:
    """Starts averages of all weights (also moving statistics) of `averaged_networks`; call at the end of `__init__`."""
    self._average_decay = decay
    if decay > 0:
      self._averages = [
          tf.Variable(w.numpy(), trainable=False, name='average', aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
          for w in self._averaged_weights()]

  def _averaged_weights(self) -> list[tf.Variable]:
    return [w for network in self.averaged_networks() for w in network.weights]

  def start_phase(self, phase: str) -> None:
    """Begins a phase at step 0; averages begin at the weights as they are now."""
    self.phase = phase
    self.step.assign(0)
    self.start_averages()

  def start_averages(self) -> None:
    """Averages begin at the weights as they are now."""
    if self._averages:
      for average, weight in zip(self._averages, self._averaged_weights(), strict=True):
        average.assign(weight.numpy())

  def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
    """One step of the current phase. Keras calls this in a replica."""
    losses = getattr(self, f'step_{self.phase}')(batch)
    if self._averages:
      # A short run should not be dominated by its random start, so the decay grows with the step.
      step = tf.cast(self.step, tf.float32)
      decay = tf.minimum(self._average_decay, (1 + step) / (10 + step))
      for average, weight in zip(self._averages, self._averaged_weights(), strict=True):
        average.assign(decay * average + (1 - decay) * weight)
    self.step.assign_add(1)
    return losses

  def use_averages(self) -> None:
    """Puts the averaged weights into the networks for good (nothing happens where nothing is averaged)."""
    if self._averages:
      for weight, average in zip(self._averaged_weights(), self._averages, strict=True):
        weight.assign(average.numpy())

  @contextlib.contextmanager
  def averaged_weights(self) -> Iterator[None]:
    """Within this context the networks hold their averaged weights (nothing happens where nothing is averaged)."""
    weights = self._averaged_weights() if self._averages else []
    trained = [w.numpy() for w in weights]
    self.use_averages()
    try:
      yield
    finally:
      for weight, value in zip(weights, trained, strict=True):
        weight.assign(value)

  def sample(self, batch: Batch) -> dict[str, tf.Tensor]:
    """Columns of the sample sheet for a batch: name -> images [B, H, W, 3] in [-1, 1]."""
    raise NotImplementedError(f'{type(self).__name__} shows no samples')

  def inspect(self, batch: Batch) -> tuple[dict[str, float], list[str]]:
    """Figures of a fixed held-out batch, logged at every sample sheet, and warnings about them."""
    del batch
    return {}, []

  def transfer(self, source: tf.Tensor, driver: tf.Tensor) -> tf.Tensor:
    """Shows the source as the driver moves; what the two are is said by each system.

    Args:
      source: [B, H, W, 3] images in [-1, 1] of whom to show.
      driver: the motion to show.
    Returns:
      [B, H, W, 3] images in [-1, 1].
    """
    raise NotImplementedError(f'{type(self).__name__} transfers nothing')

  def signatures(self) -> dict[str, tf.types.experimental.GenericFunction]:
    """Functions of the SavedModel by name, `serving_default` among them: uint8 images in and out, free batch size."""
    raise NotImplementedError(f'{type(self).__name__} exports nothing')
