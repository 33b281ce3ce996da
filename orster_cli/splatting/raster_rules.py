"""The constants of rasterization, with the values of gsplat 1.5.3.

Every backend reads them, so that an image does not depend on the device that rendered it.
"""

from __future__ import annotations

ALPHA_MIN = 1.0 / 255.0  # a Gaussian is skipped at pixels where its alpha is smaller
ALPHA_MAX = 0.999  # alpha is clamped to this; clamped alphas have no gradient
TRANSMITTANCE_STOP = 1e-4  # blending stops before the Gaussian that would bring T to this or below
EPS2D = 0.3  # pixels^2 added to both axes of the projected covariance
NEAR = 0.01  # Gaussians whose centre is nearer to the camera plane are culled
FRUSTUM_MARGIN = 0.15  # the projection's Jacobian is evaluated inside the image extended by this
# fraction of its size on each side
SIGMA_EXTENT = 3.33  # radii are reported up to this many standard deviations
