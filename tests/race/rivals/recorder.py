"""Detect where something moves, as network video recorders do: `recorder.py URL MODEL ENDPOINT`.

OpenCV's background subtraction on a shrunk picture decides whether the network runs. Unlike in
Edgewatch, nobody who sits still is looked at, and light, rain and clocks are motion.
"""

import sys

import av
import cv2
import numpy as np
import onnxruntime
import supervision as sv
import zmq
from trackers import ByteTrackTracker

LEAST_AREA = 40  # pixels of the shrunk picture

url, model, endpoint = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
network = onnxruntime.InferenceSession(model, options)
_, height, width, _ = network.get_inputs()[0].shape
mixture = cv2.createBackgroundSubtractorMOG2(detectShadows=False)
tracker = ByteTrackTracker(track_activation_threshold=0.5, frame_rate=10)
publisher = zmq.Context().socket(zmq.PUB)
publisher.bind(endpoint)
with av.open(url, options={"rtsp_transport": "tcp"}) as camera:
    for number, frame in enumerate(camera.decode(video=0)):
        gray = frame.to_ndarray(format="gray")
        mask = mixture.apply(cv2.resize(gray, (320, 180), interpolation=cv2.INTER_AREA))
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        shapes, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        if not any(cv2.contourArea(shape) >= LEAST_AREA for shape in shapes):
            publisher.send_json({"frame": number, "objects": []})
            continue
        image = frame.to_ndarray(format="rgb24")
        scale = min(width / image.shape[1], height / image.shape[0])
        small = cv2.resize(image, None, fx=scale, fy=scale)
        batch = np.full((1, height, width, 3), 114, np.uint8)
        batch[0, : small.shape[0], : small.shape[1]] = small
        rows = network.run(None, {"images": batch})[0][0]
        rows = rows[(rows[:, 4] > 0.1) & (rows[:, 5] == 0)]
        found = sv.Detections(rows[:, :4] / scale, None, rows[:, 4], rows[:, 5].astype(int))
        tracks = tracker.update(found)
        boxes = [
            {"id": int(track), "box": box.tolist()}
            for track, box in zip(tracks.tracker_id, tracks.xyxy, strict=True)
            if track >= 0
        ]
        publisher.send_json({"frame": number, "objects": boxes})
