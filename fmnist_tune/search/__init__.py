"""Running a search: the driver decides, Ray Tune's actors train."""
