"""The node: a colour camera in, an RGBD camera out, for hands.

A managed node (rclpy LifecycleNode). Once configured it has a `DepthWorker`: estimator, publishers
and a worker thread. Once active it also subscribes to the camera. The image callback hands the
newest frame to the worker, which decodes, estimates, encodes and publishes. Latency never grows;
frames that are overtaken are dropped and counted. Whatever needs no ROS is elsewhere:
`pipeline.process_frame` does all the work on a frame, and the bag tool calls it too.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import Trigger

from hand_depth_ros.errors import HandDepthError
from hand_depth_ros.ros import parameters
from hand_depth_ros.ros.messages.stamps import Stamps, stamp_ns
from hand_depth_ros.ros.node.declare import declare, warn_of_idle_qos_overrides
from hand_depth_ros.ros.node.depth_worker import DepthWorker
from hand_depth_ros.ros.node.fallback_estimator import EstimatorFactory
from hand_depth_ros.ros.node.inputs import ColourCamera, resolve_inputs
from hand_depth_ros.ros.node.reporter import Reporter
from hand_depth_ros.ros.node.rosout import log_fatal_to_rosout
from hand_depth_ros.ros.node.tf import OutputFrame

FOLLOW_PERIOD_S = 0.5
DIAGNOSTICS_PERIOD_S = 1.0


def shipped_estimator(values: Mapping[str, parameters.Value]) -> Any:
    """Make the real estimator for a set of parameter values."""
    from hand_depth_ros.estimation.device import use_threads
    from hand_depth_ros.estimation.estimator import HandDepthEstimator

    use_threads(int(values["num_threads"]))
    return HandDepthEstimator.from_pretrained(
        weights=values["weights"] or None,
        device=values["device"],
        **parameters.estimator_settings(values),
    )


class HandDepthNode(LifecycleNode):
    """Subscribe to a colour camera and publish hand depth registered to it.

    Topic names are relative to the node's namespace and can be remapped.

    Parameters:
        The table in `ros/parameters.py`, explained in config/hand_depth.yaml, and
        qos_overrides.<topic>.publisher|subscription.<policy> for every topic below.

    Subscribers:
        image (sensor_msgs/Image, or sensor_msgs/CompressedImage on image/compressed): colour.
        camera_info (sensor_msgs/CameraInfo): the one beside the image, wherever that is remapped
        to.

    Publishers:
        depth_registered/image_raw (sensor_msgs/Image, 16UC1): millimetres, 0 = invalid.
        depth_registered/image (sensor_msgs/Image, 32FC1): metres, NaN = invalid.
        depth_registered/sigma (sensor_msgs/Image, 32FC1): one standard deviation in metres.
        depth_registered/camera_info (sensor_msgs/CameraInfo): the colour camera's own.
        depth_registered/points (sensor_msgs/PointCloud2): x y z rgb.
        hand_mask (sensor_msgs/Image, mono8): hand number of each pixel, 0 = no hand.
        debug/image (sensor_msgs/Image, rgb8): overlay.
        <depth or sigma image>/compressedDepth (sensor_msgs/CompressedImage): the same as PNG.
        camera_info, debug/camera_info (sensor_msgs/CameraInfo): beside hand_mask and debug/image.
        /diagnostics (diagnostic_msgs/DiagnosticArray): one status a second.
        /tf_static (tf2_msgs/TFMessage): only with depth_frame_id.

    Services:
        ~/reset_tracking (std_srvs/Trigger): drop all tracks.
        ~/recalibrate (std_srvs/Trigger): estimate the hand lengths again.
        ~/change_state, ~/get_state, ...: those of a managed node.

    Args:
        estimator_factory: Makes the estimator from the parameter values; tests pass a fake.
        node_arguments: As rclpy.node.Node takes them.

    Raises:
        HandDepthError: A parameter cannot be used; with `autostart`, the weights or the device
            cannot. The reason has been published on /rosout.
    """

    def __init__(
        self, estimator_factory: EstimatorFactory = shipped_estimator, **node_arguments: Any
    ) -> None:
        created_s = time.monotonic()
        super().__init__("hand_depth", **node_arguments)
        self._factory = estimator_factory
        self._worker: DepthWorker | None = None
        self._camera: ColourCamera | None = None
        self._frame: OutputFrame | None = None
        self._stamps = Stamps()
        self._error: Exception | None = None  # of the last transition
        self._starting = False
        try:
            self._set_up()
        except BaseException as error:
            try:
                if isinstance(error, Exception):
                    log_fatal_to_rosout(self, _reason(error), created_s)
            finally:
                self.close()
            raise

    def _set_up(self) -> None:
        self._survive_impossible_transitions()
        self._values = declare(self)
        self._reporter = Reporter(self, resolve_inputs(self, str(self._values["image_transport"])))
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._jumps = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=False),
            post_callback=lambda _jump: self._reset_after_jump(),
        )
        self.create_service(Trigger, "~/reset_tracking", self._on_reset_tracking)
        self.create_service(Trigger, "~/recalibrate", self._on_recalibrate)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still
        self.create_timer(FOLLOW_PERIOD_S, self._follow, clock=steady)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._diagnose, clock=steady)
        if self._values["autostart"]:
            self._autostart()

    def _autostart(self) -> None:
        self._starting = True
        for trigger in (self.trigger_configure, self.trigger_activate):
            if trigger() != TransitionCallbackReturn.SUCCESS:
                raise self._error or HandDepthError(f"{self._state}: rcl refused the next transition")
        self._starting = False

    def close(self) -> None:
        """Stop the worker after the current frame and free the estimator."""
        try:
            self._deactivate()
            self._clean_up()
        finally:
            self._state_machine.destroy_when_not_in_use()  # rclpy would leave it to the garbage collector
            self.destroy_node()

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the weights, run once, advertise; on failure leave nothing behind."""
        return self._transition("configure", self._configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the camera; nothing seen before counts."""
        return self._transition("activate", self._activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Publish nothing after this; estimator, device memory and publishers stay."""
        return self._transition("deactivate", self._deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free estimator, device memory and publishers."""
        return self._transition("cleanup", self._clean_up)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, whatever the state."""
        return self._transition("shutdown", self._deactivate, self._clean_up)

    def _transition(self, name: str, *steps: Callable[[], None]) -> TransitionCallbackReturn:
        """Do the steps; log and diagnose what they raise (rclpy would drop it)."""
        try:
            for step in steps:
                step()
        except Exception as error:
            self._error = error if self._starting else None  # its frames hold memory
            self._reporter.failure = f"{name} failed: {_reason(error)}"
            if not self._starting:  # else it is raised
                self.get_logger().error(self._reporter.failure)
                self.get_logger().debug(traceback.format_exc())
            return TransitionCallbackReturn.FAILURE
        self._error, self._reporter.failure = None, ""
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        if self._frame is None:
            self._frame = OutputFrame(self, str(self._values["depth_frame_id"]))
        self._worker = DepthWorker(self, self._factory, self._values, self._frame, self._reporter)

    def _activate(self) -> None:
        assert self._worker is not None  # rcl lets nobody activate what isn't configured
        self._stamps = Stamps()
        self._camera = ColourCamera(
            self, str(self._values["image_transport"]), self._on_image, self._reporter.statistics.add_info
        )
        self._reporter.topics = self._camera.topics
        self._worker.activate(self._camera)
        self._reporter.activated()
        warn_of_idle_qos_overrides(self)
        topics = self._reporter.topics
        self.get_logger().info(
            f"hand depth on {self._worker.device}: {topics.image} and {topics.camera_info} in"
        )

    def _deactivate(self) -> None:
        camera, self._camera = self._camera, None
        if camera is not None:
            camera.close()
        if self._worker is not None:
            self._worker.deactivate()

    def _clean_up(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _survive_impossible_transitions(self) -> None:
        """Refuse a transition that the state does not have; rclpy would let it end the process."""
        service = self._service_change_state
        change = service.callback

        def change_or_refuse(request: Any, response: Any) -> Any:
            try:
                return change(request, response)
            except RuntimeError:  # RCLError; rcl has logged which transition
                self.get_logger().warning(f"refused: {self._state} has no such transition")
                response.success = False
                return response

        service.callback = change_or_refuse

    @property
    def _state(self) -> str:
        return self._state_machine.current_state[1]

    # Parameters and services

    def set_parameters_atomically(self, parameter_list: list[Any]) -> SetParametersResult:
        """Set parameters as rclpy does, but refuse them in our own words.

        The parameter services call this.
        """
        try:
            for change in parameter_list:
                parameters.check_change(change.name, change.value, self.has_parameter(change.name))
        except parameters.ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return super().set_parameters_atomically(parameter_list)

    def _on_set_parameters(self, changes: list[Any]) -> SetParametersResult:
        """Apply changes all or nothing, between two frames."""
        ours = {change.name: change.value for change in changes if change.name in parameters.BY_NAME}
        try:
            values = parameters.check_values({**self._values, **ours})
            if self._worker is not None:
                self._worker.configure(values)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._values = values
        return SetParametersResult(successful=True)

    def _on_reset_tracking(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._worker is None:
            return _answer(response, False, f"{self._state}: no hand is tracked")
        self._worker.reset()
        return _answer(response, True, "the next frame is searched as if it were the first")

    def _on_recalibrate(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._worker is None:
            return _answer(response, False, f"{self._state}: no hand is tracked")
        if length := self._values["hand_length_m"]:
            reason = f"hand_length_m is {length:g}: set it to 0 to have the length estimated"
            return _answer(response, False, reason)
        count = self._worker.recalibrate()
        hands = "1 hand" if count == 1 else f"{count} hands"
        return _answer(response, True, f"the length of {hands} is estimated again from the next frame on")

    # Callbacks: quick, in the executor's thread

    def _on_image(self, msg: Any) -> None:
        camera, worker = self._camera, self._worker
        if camera is None or worker is None:
            return  # taken by the executor just before the subscription ended
        self._reporter.statistics.add_received()
        jump = self._stamps.jump(stamp_ns(msg.header))
        topic = self._reporter.topics.image
        if jump is not None and jump < 0.0:
            self._reset_after_jump()
            self._reporter.refuse(
                "stamp",
                f"{topic}: the stamp jumps back by {-jump:.3f} s: this frame is left out and tracking starts "
                "over. Unless a bag is looping, look for a second publisher or a clock that was set",
            )
            return
        if jump is not None:
            worker.request_reset()
            self._reporter.log(
                "stamp", f"{topic}: the stamp jumps ahead by {jump:.3f} s: tracking starts over"
            )
        worker.put(camera, msg)

    def _reset_after_jump(self) -> None:
        """Forget what was seen before time jumped back."""
        if self._camera is not None:
            self._camera.infos.clear()
        if self._worker is not None:
            self._worker.request_reset()

    def _follow(self) -> None:
        if self._camera is not None:
            self._camera.follow()
            self._reporter.topics = self._camera.topics

    def _diagnose(self) -> None:
        worker = self._worker
        self._reporter.diagnose(
            self._state,
            self._camera,
            None if worker is None else worker.outputs,
            "" if worker is None else worker.fallback,
            {
                "device": str(self._values["device"]) if worker is None else worker.device,
                "weights": str(self._values["weights"]) or "shipped",
                **(
                    {} if worker is None or worker.bit_depth is None else {"bit depth": str(worker.bit_depth)}
                ),
            },
        )


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, HandDepthError) else f"{type(error).__name__}: {error}"


def _answer(response: Trigger.Response, success: bool, message: str) -> Trigger.Response:
    response.success, response.message = success, message
    return response
