//! Places on the earth, and the plane that real days of orders are given in.

use serde::{Deserialize, Serialize};

/// Mean earth radius in metres (IUGG).
const EARTH_RADIUS_M: f64 = 6_371_008.8;

/// A place: degrees of latitude and longitude (WGS 84).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Location {
    /// Degrees north, from -90 to 90.
    pub lat: f64,
    /// Degrees east, from -180 to 180.
    pub lng: f64,
}

impl Location {
    /// Whether the place is on the map.
    pub fn is_valid(self) -> bool {
        (-90.0..=90.0).contains(&self.lat) && (-180.0..=180.0).contains(&self.lng)
    }

    /// Metres to another place along the great circle (haversine formula, Sinnott 1984).
    pub fn metres_to(self, other: Self) -> f64 {
        let (lat_a, lat_b) = (self.lat.to_radians(), other.lat.to_radians());
        let half_lat = (lat_b - lat_a) / 2.0;
        let half_lng = (other.lng - self.lng).to_radians() / 2.0;
        let chord = half_lat.sin().powi(2) + lat_a.cos() * lat_b.cos() * half_lng.sin().powi(2);
        2.0 * EARTH_RADIUS_M * chord.sqrt().min(1.0).asin()
    }
}

/// An equirectangular projection around an origin: metres east and north of it. Exact to a metre both ways over the
/// extent of a city.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Projection {
    /// The place of `(0, 0)`.
    pub origin: Location,
}

impl Projection {
    /// The place `x` metres east and `y` metres north of the origin.
    pub fn place(self, x: f64, y: f64) -> Location {
        Location {
            lat: self.origin.lat + (y / EARTH_RADIUS_M).to_degrees(),
            lng: self.origin.lng + (x / (EARTH_RADIUS_M * self.origin.lat.to_radians().cos())).to_degrees(),
        }
    }

    /// Metres east and north of the origin.
    pub fn plane(self, place: Location) -> (f64, f64) {
        let x = (place.lng - self.origin.lng).to_radians() * EARTH_RADIUS_M * self.origin.lat.to_radians().cos();
        let y = (place.lat - self.origin.lat).to_radians() * EARTH_RADIUS_M;
        (x, y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projection_is_exact_both_ways_and_keeps_distances() {
        let projection = Projection {
            origin: Location {
                lat: 41.88,
                lng: -87.63,
            },
        };
        let a = projection.place(8_708.0, 5_633.0);
        let b = projection.place(11_491.0, 2_806.0);
        let (x, y) = projection.plane(a);
        assert!((x - 8_708.0).abs() < 1e-6 && (y - 5_633.0).abs() < 1e-6);
        let plane = (11_491.0_f64 - 8_708.0).hypot(2_806.0 - 5_633.0);
        assert!(
            (a.metres_to(b) / plane - 1.0).abs() < 0.002,
            "{} against {plane}",
            a.metres_to(b)
        );
    }

    #[test]
    fn off_the_map_is_noticed() {
        assert!(!Location { lat: 90.1, lng: 0.0 }.is_valid());
        assert!(!Location { lat: 0.0, lng: 181.0 }.is_valid());
        assert!(
            !Location {
                lat: f64::NAN,
                lng: 0.0
            }
            .is_valid()
        );
        assert!(Location { lat: -90.0, lng: 180.0 }.is_valid());
    }
}
