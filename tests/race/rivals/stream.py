"""Ultralytics' stream, and a line that publishes: `stream.py URL MODEL ENDPOINT WIDTH HEIGHT`."""

import os
import sys

os.environ |= {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}

import cv2
import zmq
from ultralytics import YOLO


class Numbered(cv2.VideoCapture):
    """Writes each picture's number into its first two pixels, since the stream tells none."""

    number = -1

    def grab(self):
        self.number += 1
        return super().grab()

    def retrieve(self, *arguments):
        taken, image = super().retrieve(*arguments)
        if taken:
            image[0, 0] = self.number & 255, self.number >> 8 & 255, self.number >> 16
        return taken, image

    def read(self):
        return self.retrieve() if self.grab() else (False, None)


cv2.VideoCapture = Numbered
url, model, endpoint, width, height = sys.argv[1:]
publisher = zmq.Context().socket(zmq.PUB)
publisher.bind(endpoint)
network = YOLO(model, task="detect")
size = (int(height), int(width))
for result in network.predict(url, stream=True, imgsz=size, verbose=False):
    low, middle, high = map(int, result.orig_img[0, 0])
    persons = result.boxes.xyxy[result.boxes.cls == 0].tolist()
    publisher.send_json({"frame": low + (middle << 8) + (high << 16), "objects": persons})
