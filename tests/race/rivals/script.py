"""Detect, track and publish, as users write it: `script.py URL MODEL ENDPOINT`.

Kinder to itself than most: the network has one thread, for ONNX Runtime's own number spins.
"""

import sys

import av
import cv2
import numpy as np
import onnxruntime
import supervision as sv
import zmq
from trackers import ByteTrackTracker

url, model, endpoint = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
network = onnxruntime.InferenceSession(model, options)
_, height, width, _ = network.get_inputs()[0].shape
tracker = ByteTrackTracker(track_activation_threshold=0.5, frame_rate=10)
publisher = zmq.Context().socket(zmq.PUB)
publisher.bind(endpoint)
with av.open(url, options={"rtsp_transport": "tcp"}) as camera:
    for number, frame in enumerate(camera.decode(video=0)):
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
