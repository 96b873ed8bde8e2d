"""A Ray of this machine whose raylet is the program OTHER_RAYLET."""

import os

from ray._private import services

from components.launch.ray_node import main_and_exit

services.RAYLET_EXECUTABLE = os.environ["OTHER_RAYLET"]
main_and_exit()
