"""What "to rasterize" means here: gsplat 1.5.3's rules, one named constant each.

Every backend reads these, so that a picture does not depend on the device it was made on.
"""

from __future__ import annotations

ALPHA_MIN = 1.0 / 255.0  # a Gaussian adds nothing to a pixel where its alpha is below this
ALPHA_MAX = 0.999  # alpha is capped here; beyond the cap it passes no gradient
TRANSMITTANCE_STOP = 1e-4  # the Gaussian that would take T to this or below is left out, and
# all behind it (an exclusive stop)
EPS2D = 0.3  # pixels^2 added to both axes of the projected covariance
NEAR = 0.01  # Gaussians whose centre is nearer than this are culled
FRUSTUM_MARGIN = 0.15  # the projection's Jacobian is taken inside the image grown by this
# fraction of its size on each side
SIGMA_EXTENT = 3.33  # radii are reported up to this many standard deviations
