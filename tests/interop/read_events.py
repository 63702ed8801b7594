"""Prints what TensorBoard reads in an event file, as JSON: scalars (step, value), images (step, size, SHA-256), times."""

import hashlib
import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "images": 0})
events.Reload()
tags = events.Tags()
scalars = {tag: events.Scalars(tag) for tag in tags["scalars"]}
images = {tag: events.Images(tag) for tag in tags["images"]}
print(
    json.dumps(
        {
            "scalars": {tag: [[e.step, e.value] for e in found] for tag, found in scalars.items()},
            "images": {
                tag: [
                    [e.step, [e.width, e.height], hashlib.sha256(e.encoded_image_string).hexdigest()] for e in found
                ]
                for tag, found in images.items()
            },
            "wall_times": sorted({e.wall_time for found in scalars.values() for e in found}),
        }
    )
)
