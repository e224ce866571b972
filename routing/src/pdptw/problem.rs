//! What there is to serve, and with what.

use thiserror::Error;

/// Most tasks of a problem, the depot included: the table of distances is quadratic in it.
const TASKS_MAX: usize = 2_048;
/// How much later than its window something may be because sums of distances are not exact.
pub(super) const ROUNDING: f64 = 1e-9;

/// What a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Where every route begins and ends.
    Depot,
    /// Something is fetched, and goes to the task with this number.
    Pickup {
        /// The delivery.
        to: u16,
    },
    /// Something is brought, from the task with this number.
    Delivery {
        /// The pickup.
        from: u16,
    },
}

/// One place to visit. Distances are Euclidean, and a unit of distance takes a unit of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Task {
    /// Where, east.
    pub x: f64,
    /// Where, north.
    pub y: f64,
    /// What it adds to the vehicle's load: positive where it is picked up, as much negative where it is delivered.
    pub demand: i32,
    /// When service may begin; who comes before that waits.
    pub earliest: f64,
    /// When service must have begun. At the depot: when everybody must be back.
    pub latest: f64,
    /// How long service takes.
    pub service: f64,
    /// What it is.
    pub role: Role,
}

/// Why a problem is none.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum PdptwError {
    /// The text is not an instance in Li and Lim's format.
    #[error("line {line}, column {column}: {fault}")]
    Text {
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What is wrong there.
        fault: Fault,
    },
    /// A task contradicts itself or others.
    #[error("task {task}: {fault}")]
    Task {
        /// Its number.
        task: usize,
        /// What is wrong with it.
        fault: Fault,
    },
    /// No plan within the budget used as few vehicles as there are.
    #[error("there are {vehicles_max} vehicles, and the best plan found needs {needed}")]
    Vehicles {
        /// What the best plan needs.
        needed: usize,
        /// What there is.
        vehicles_max: usize,
    },
}

/// What is wrong with a text or a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// The text ended, or the line did.
    #[error("something is missing here")]
    Missing,
    /// More on a line than belongs there.
    #[error("nothing more was expected here")]
    Surplus,
    /// No number, or not a finite one.
    #[error("a number was expected")]
    NotANumber,
    /// No whole number from 0 to the most there may be.
    #[error("a whole number in range was expected")]
    OutOfRange,
    /// Tasks are numbered from 0 without gaps.
    #[error("tasks are numbered from 0 without gaps")]
    Number,
    /// More tasks than are supported, or none at all.
    #[error("from 1 to {TASKS_MAX} tasks, the depot included, were expected")]
    Tasks,
    /// The first task is the depot, and only that.
    #[error("the first task, and no other, is the depot")]
    Depot,
    /// A pickup and its delivery name each other.
    #[error("its partner does not name it")]
    Partner,
    /// What is picked up is what is delivered.
    #[error("what is picked up is not what is delivered")]
    Demand,
    /// It ends before it begins, or service takes less than no time.
    #[error("its window or its service time is negative")]
    Window,
    /// Even a vehicle that serves nothing else cannot serve it.
    #[error("even a vehicle that serves nothing else cannot serve it")]
    Unservable,
}

impl Fault {
    /// The field of a task's line that it is about, from 0.
    pub(super) const fn field(self) -> usize {
        match self {
            Self::Demand => 3,
            Self::Window | Self::Unservable => 4,
            Self::Partner => 7,
            _ => 0,
        }
    }
}

/// A pickup and its delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) pickup: u16,
    pub(super) delivery: u16,
}

/// What the inner loop needs of a task, in one half of a cache line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) earliest: f64,
    pub(super) latest: f64,
    pub(super) service: f64,
    pub(super) demand: i32,
    /// The request it belongs to; of no meaning at the depot.
    pub(super) request: u16,
}

/// A problem that is consistent: every request can be served by a vehicle of its own.
#[derive(Clone, Debug)]
pub struct Problem {
    vehicles_max: usize,
    pub(super) capacity: i32,
    pub(super) nodes: Vec<Node>,
    pub(super) requests: Vec<Request>,
    distances: Vec<f64>,
    /// For each task the others that are no depot, the nearest first.
    near: Vec<u16>,
    /// For each way to sort requests, a rank for each request.
    pub(super) ranks: Vec<Vec<u16>>,
    /// The mean distance between two tasks.
    pub(super) leg_mean: f64,
}

impl Problem {
    /// A problem of these tasks, of which the first is the depot.
    ///
    /// # Errors
    /// [`PdptwError::Task`] when a task contradicts itself or others, or cannot be served at all.
    pub fn new(vehicles_max: usize, capacity: i32, tasks: &[Task]) -> Result<Self, PdptwError> {
        if tasks.is_empty() || tasks.len() > TASKS_MAX {
            return Err(PdptwError::Task {
                task: 0,
                fault: Fault::Tasks,
            });
        }
        let mut nodes: Vec<Node> = tasks.iter().map(node).collect();
        let mut requests = Vec::new();
        for (index, task) in tasks.iter().enumerate() {
            consistent(tasks, index).map_err(|fault| PdptwError::Task { task: index, fault })?;
            if let Role::Pickup { to } = task.role {
                let request = small(requests.len());
                nodes[index].request = request;
                nodes[usize::from(to)].request = request;
                requests.push(Request {
                    pickup: small(index),
                    delivery: to,
                });
            }
        }
        let distances: Vec<f64> = tasks
            .iter()
            .flat_map(|a| tasks.iter().map(|b| distance(a, b)))
            .collect();
        #[expect(clippy::cast_precision_loss, reason = "a mean of some thousand numbers")]
        let leg_mean = distances.iter().sum::<f64>() / distances.len() as f64;
        let mut problem = Self {
            vehicles_max,
            capacity,
            near: Vec::new(),
            ranks: Vec::new(),
            nodes,
            requests,
            distances,
            leg_mean,
        };
        problem.near = near(&problem);
        problem.ranks = super::recreate::ranks(&problem);
        problem.servable()?;
        Ok(problem)
    }

    /// How many vehicles there are.
    pub const fn vehicles_max(&self) -> usize {
        self.vehicles_max
    }

    /// How many requests there are.
    pub const fn requests(&self) -> usize {
        self.requests.len()
    }

    /// How far it is from each task to this one, and back.
    pub(super) fn ways(&self, task: u16) -> &[f64] {
        let from = usize::from(task) * self.nodes.len();
        &self.distances[from..from + self.nodes.len()]
    }

    /// How far it is.
    pub(super) fn way(&self, from: u16, to: u16) -> f64 {
        self.distances[usize::from(from) * self.nodes.len() + usize::from(to)]
    }

    /// The other tasks, the nearest first.
    pub(super) fn near(&self, task: u16) -> &[u16] {
        let count = self.nodes.len() - 1;
        let from = usize::from(task - 1) * count;
        &self.near[from..from + count]
    }

    fn servable(&self) -> Result<(), PdptwError> {
        let alone = |request: &Request| super::route::Route::new(self).cheapest(self, *request).is_some();
        let not = self.requests.iter().find(|request| !alone(request));
        not.map_or(Ok(()), |request| {
            Err(PdptwError::Task {
                task: usize::from(request.pickup),
                fault: Fault::Unservable,
            })
        })
    }
}

/// A number that [`TASKS_MAX`] keeps small.
#[expect(clippy::cast_possible_truncation, reason = "there are fewer than 2^16 tasks")]
pub(super) const fn small(index: usize) -> u16 {
    index as u16
}

const fn node(task: &Task) -> Node {
    Node {
        earliest: task.earliest,
        latest: task.latest,
        service: task.service,
        demand: task.demand,
        request: u16::MAX,
    }
}

fn distance(a: &Task, b: &Task) -> f64 {
    (a.x - b.x).hypot(a.y - b.y)
}

fn consistent(tasks: &[Task], index: usize) -> Result<(), Fault> {
    let task = &tasks[index];
    // Written so that what is no number is wrong, too.
    let in_order = task.earliest <= task.latest && task.service >= 0.0;
    if !(in_order && task.x.is_finite() && task.y.is_finite()) {
        return Err(Fault::Window);
    }
    let partner = |number: u16| tasks.get(usize::from(number)).ok_or(Fault::Partner);
    match task.role {
        Role::Depot if index == 0 => Ok(()),
        Role::Depot => Err(Fault::Depot),
        _ if index == 0 => Err(Fault::Depot),
        Role::Pickup { to } => {
            let delivery = partner(to)?;
            let named = matches!(delivery.role, Role::Delivery { from } if usize::from(from) == index);
            let same = task.demand >= 0 && delivery.demand == -task.demand;
            named.then_some(()).ok_or(Fault::Partner)?;
            same.then_some(()).ok_or(Fault::Demand)
        }
        Role::Delivery { from } => {
            let named = matches!(partner(from)?.role, Role::Pickup { to } if usize::from(to) == index);
            named.then_some(()).ok_or(Fault::Partner)
        }
    }
}

fn near(problem: &Problem) -> Vec<u16> {
    let count = small(problem.nodes.len());
    let sorted = |task: u16| {
        let ways = problem.ways(task);
        let mut others: Vec<u16> = (1..count).collect();
        others.sort_by(|a, b| ways[usize::from(*a)].total_cmp(&ways[usize::from(*b)]));
        others
    };
    (1..count).flat_map(sorted).collect()
}
