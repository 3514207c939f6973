//! Chapter 7: containers that stay when whoever started them leaves, and the commands that look after them.

pub(super) mod attach;
mod background;
mod control;
pub(crate) mod copying;
mod damage;
mod ending;
mod inside;
mod listing;
mod logs;
mod names;
mod policies;
mod races;
mod removing;
mod starting;

use crate::checks::check::Check;

pub(crate) const CHECKS: &[&[Check]] = &[
    background::CHECKS,
    names::CHECKS,
    listing::CHECKS,
    ending::CHECKS,
    starting::CHECKS,
    removing::CHECKS,
    policies::CHECKS,
    logs::CHECKS,
    attach::CHECKS,
    inside::CHECKS,
    copying::CHECKS,
    control::CHECKS,
    races::CHECKS,
    damage::CHECKS,
];
