"""Reading videos; it lives in `input_pipeline.video`, since data sets are made of videos too."""

from input_pipeline.video import frame_rate, is_video, read_video

__all__ = ['frame_rate', 'is_video', 'read_video']
