//! People who do not exist, for tests and measurements: households with habits.

use crate::attack::Xorshift;

/// Readings of a household in a day: one each quarter of an hour.
pub const DAY: u64 = 96;

/// What is the same about a household every week.
#[derive(Debug, Clone)]
pub struct Household {
    seed: u64,
    base: f64,
    /// When it is up, when it is home again, when it sleeps: hours of the day.
    hours: [f64; 3],
    /// What it uses then.
    peaks: [f64; 2],
    /// By how much later the weekend is.
    weekend: f64,
    /// How much a day differs from another.
    noise: f64,
}

impl Household {
    /// The household of this number.
    pub fn new(number: u32) -> Self {
        let seed = u64::from(number).wrapping_mul(0xd134_2543_de82_ef95) ^ 0x5eed;
        let mut random = Xorshift::new(seed);
        // The first numbers of seeds that are alike are alike.
        for _ in 0..8 {
            random.bits();
        }
        let mut between = |low: f64, high: f64| low + (high - low) * random.unit();
        Self {
            seed,
            base: between(0.03, 0.15),
            hours: [between(5.5, 8.5), between(16.0, 20.0), between(21.5, 24.0)],
            peaks: [between(0.1, 0.5), between(0.2, 1.0)],
            weekend: between(0.0, 2.5),
            noise: between(0.3, 0.9),
        }
    }

    /// Each reading of a week: its second since the week began (a Monday), and kWh.
    pub fn week(&self, week: u32) -> Vec<(u64, f64)> {
        let mut random = Xorshift::new(self.seed ^ (u64::from(week) << 40));
        let mut readings = Vec::new();
        for day in 0..7_u32 {
            let later = if day >= 5 { self.weekend } else { 0.0 };
            // No day is like another: up later, home earlier, away.
            let shift = (random.unit() - 0.5) * 2.0;
            let away = random.unit() < 0.1;
            for quarter in 0..96_u32 {
                let hour = f64::from(quarter) / 4.0 - later - shift;
                let [up, home, asleep] = self.hours;
                let bump = |at: f64, long: f64| (-((hour - at) / long).powi(2)).exp();
                let mut use_of_it = self.base;
                if !away {
                    use_of_it += self.peaks[0] * bump(up + 0.7, 0.8);
                    use_of_it +=
                        self.peaks[1] * bump(f64::midpoint(home, asleep), (asleep - home) / 2.5);
                }
                let noisy = use_of_it
                    * (self.noise * (random.unit() + random.unit() + random.unit() - 1.5) * 2.0)
                        .exp();
                readings.push((
                    u64::from(day) * 86_400 + u64::from(quarter) * 900,
                    (noisy * 1_000.0).round() / 1_000.0,
                ));
            }
        }
        readings
    }
}
